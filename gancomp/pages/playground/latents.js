"use strict";

/* The numbers that `gancomp generate --seed S` draws for its image 0, as PyTorch draws them on a CPU.
 *
 * MT19937 and its tempering: Matsumoto and Nishimura 1998. From 16 numbers on PyTorch fills groups
 * of 16 by Box and Muller out of 24-bit fractions; fewer come one by one out of 53-bit fractions.
 */
class TorchRandom {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let k = 1; k < 624; k++) {
      const before = this.state[k - 1] ^ (this.state[k - 1] >>> 30);
      this.state[k] = Math.imul(1812433253, before) + k;
    }
    this.position = 624;
    this.kept = null; // the second of two normal numbers
  }

  /* The generator of image `number` of a seed: of the SHA-256 of both, see gancomp/seeding.py. */
  static async ofImage(seed, number) {
    const text = `${seed}\u001fstr:image\u001fint:${number}`;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    const derived = new DataView(digest).getBigUint64(0) >> 1n;
    return new TorchRandom(Number(derived & 0xffffffffn)); // PyTorch's engine takes 32 bits of it
  }

  word() {
    if (this.position === 624) this.twist();
    let y = this.state[this.position++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  twist() {
    const { state } = this;
    for (let k = 0; k < 624; k++) {
      const y = (state[k] & 0x80000000) | (state[(k + 1) % 624] & 0x7fffffff);
      state[k] = state[(k + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.position = 0;
  }

  fraction24() {
    return (this.word() & 0xffffff) / 2 ** 24;
  }

  fraction53() {
    const high = BigInt(this.word());
    const both = (high << 32n) | BigInt(this.word());
    return Number(both & 0x1fffffffffffffn) / 2 ** 53;
  }

  normal(count) {
    const values = new Float32Array(count);
    if (count < 16) return values.map(() => this.oneNormal());
    for (let k = 0; k < count; k++) values[k] = this.fraction24();
    for (let k = 0; k + 16 <= count; k += 16) boxMuller(values.subarray(k, k + 16));
    if (count % 16) {
      const last = values.subarray(count - 16);
      for (let k = 0; k < 16; k++) last[k] = this.fraction24();
      boxMuller(last);
    }
    return values;
  }

  oneNormal() {
    if (this.kept !== null) {
      const value = this.kept;
      this.kept = null;
      return value;
    }
    const angle = 2 * Math.PI * this.fraction53();
    const radius = Math.sqrt(-2 * Math.log1p(-this.fraction53()));
    this.kept = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }
}

function boxMuller(values) {
  for (let k = 0; k < 8; k++) {
    const radius = Math.sqrt(-2 * Math.log(1 - values[k]));
    const angle = 2 * Math.PI * values[k + 8];
    values[k] = radius * Math.cos(angle);
    values[k + 8] = radius * Math.sin(angle);
  }
}

/* z of image 0 of a seed, `size` numbers; those beyond `threshold`, if there is one, drawn again. */
async function drawLatent(seed, { size, drawn }, threshold = null) {
  const random = await TorchRandom.ofImage(seed, 0);
  const z = random.normal(drawn).slice(0, size); // StyleGAN2 draws a second style behind the first
  if (threshold === null) return z;
  const limit = Math.fround(threshold);
  for (;;) {
    const outside = [...z.keys()].filter((k) => Math.abs(z[k]) > limit);
    if (!outside.length) return z;
    random.normal(outside.length).forEach((value, k) => (z[outside[k]] = value));
  }
}
