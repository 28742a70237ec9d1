"use strict";

/* Pictures in and out: files and camera to pixels, a generator's bytes to a canvas. */

/* The picture in a file as ImageData, upright, on white where it is transparent, its longest side at
 * most `longest`. Colors stay as they are stored, as Python reads them. */
async function readPicture(blob, longest) {
  const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  try {
    return pixelsOf(picture, picture.width, picture.height, longest);
  } finally {
    picture.close();
  }
}

function pixelsOf(source, width, height, longest) {
  const share = Math.min(1, longest / Math.max(width, height));
  const size = [width, height].map((length) => Math.max(1, Math.round(length * share)));
  const context = newCanvas(...size).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, ...size);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, ...size);
  return context.getImageData(0, 0, ...size);
}

function newCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/* ImageData as a generator's input: uint8 (1, H, W, C), C of 1 or 3. Gray as Pillow weighs it. */
function asInput({ data, width, height }, channels) {
  const values = new Uint8Array(width * height * channels);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const [red, green, blue] = [data[from], data[from + 1], data[from + 2]];
    if (channels === 3) {
      values[to++] = red;
      values[to++] = green;
      values[to++] = blue;
    } else {
      values[to++] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    }
  }
  return { type: "uint8", data: values, dims: [1, height, width, channels] };
}

/* A generator's output, uint8 (1, H, W, C), as ImageData. */
function asImage({ data, dims: [, height, width, channels] }) {
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; to < image.data.length; from += channels) {
    for (let color = 0; color < 3; color++) {
      image.data[to++] = data[from + (channels === 3 ? color : 0)];
    }
    image.data[to++] = 255;
  }
  return image;
}

/* Shows ImageData on a canvas, `scale` times as large. */
function draw(canvas, image, scale = 1) {
  const [width, height] = [image.width * scale, image.height * scale];
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (scale === 1) {
    context.putImageData(image, 0, 0);
    return;
  }
  const small = newCanvas(image.width, image.height);
  small.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, width, height);
}

/* A picture to begin with, drawn here, so that the page needs no file: shapes on a plain ground. */
function drawnSample(side) {
  const canvas = newCanvas(side, side);
  const context = canvas.getContext("2d");
  const sky = context.createLinearGradient(0, 0, 0, side);
  sky.addColorStop(0, "#a9c8ee");
  sky.addColorStop(0.6, "#e6eef5");
  sky.addColorStop(0.6, "#9db57a");
  sky.addColorStop(1, "#6f8a50");
  context.fillStyle = sky;
  context.fillRect(0, 0, side, side);
  context.scale(side, side);
  const fill = (color, path) => {
    context.fillStyle = color;
    context.beginPath();
    path();
    context.closePath();
    context.fill();
  };
  fill("#f7d35e", () => context.arc(0.8, 0.2, 0.09, 0, 7));
  fill("#7f6a9c", () => {
    context.moveTo(0.05, 0.6);
    context.lineTo(0.27, 0.28);
    context.lineTo(0.5, 0.6);
  });
  fill("#8a4b2a", () => context.ellipse(0.55, 0.62, 0.2, 0.11, 0, 0, 7));
  fill("#8a4b2a", () => context.ellipse(0.76, 0.49, 0.085, 0.055, -0.6, 0, 7));
  fill("#8a4b2a", () => {
    context.moveTo(0.66, 0.58);
    context.lineTo(0.72, 0.46);
    context.lineTo(0.78, 0.5);
    context.lineTo(0.73, 0.66);
  });
  for (const x of [0.4, 0.47, 0.62, 0.69]) {
    fill("#6d3a20", () => context.rect(x, 0.68, 0.035, 0.2));
  }
  return context.getImageData(0, 0, side, side);
}
