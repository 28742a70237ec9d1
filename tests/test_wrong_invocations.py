"""What a user can get wrong, command by command: one line, exit status 2, nothing lost or run."""

from __future__ import annotations

import errno
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL, contents, run_command, write_model
from PIL import Image

from gancomp import files
from gancomp.data.demo_set import write_demo_set

TRAIN = f"{SMALL} --perceptual random"
FROM_FILE = TRAIN.replace("--arch mobile-resnet6 --width 8 ", "")
SR = (
    "--dataset data/trainA --task super-resolution --width 4 --blocks 1 --size 32 --d-width 2 "
    "--batch-size 1 --max-steps 1 --workers 0 --device cpu --perceptual random"
)
SYNTHESIS = (
    "--dataset data/trainA --task synthesis --batch-size 4 --max-steps 1 --workers 0 --device cpu"
)
BIGGAN = f"{SYNTHESIS} --arch biggan --size 32 --width 4 --d-width 4 --accumulation 1"
SR_PLAIN = SR.replace("--width 4 --blocks 1 ", "")
FAKE = "eval-fid --fake data/testA --real data/testB"

# command line, what the error names, and its way out
CASES: list[tuple[str, str, str]] = [
    # no command, unknown names of commands and options, what the parser itself refuses
    ("", "no command given", "gancomp --help"),
    ("frobnicate", "No such command 'frobnicate'", "gancomp --help"),
    ("distil --dataset data", "Did you mean 'distill'", "gancomp --help"),
    ("--frob", "No such option: --frob", "gancomp --help"),
    ("data", "Missing command", "gancomp data --help"),
    ("data frob", "No such command 'frob'", "gancomp data --help"),
    ("distill --rato 0.5 --dataset data", "--rato", "--ratio"),
    ("distill --ratio", "'--ratio' requires an argument", "gancomp --help"),
    ("distill --ratio abc --dataset data", "'abc'", "gancomp distill --help"),
    ("distill --max-steps 1.5 --dataset data", "'1.5'", "gancomp distill --help"),
    ("distill --dataset data surplus", "surplus", "gancomp distill --help"),
    ("pretrain --dataset data --ratio 0.5", "--ratio", "gancomp pretrain --help"),
    ("export", "Missing argument 'model'", "gancomp export --help"),
    ("export student.safetensors", "--out", "gancomp export --help"),
    ("translate student.safetensors photo.png", "--out", "gancomp translate --help"),
    ("translate student.safetensors", "Missing argument 'inputs'", "gancomp translate --help"),
    ("data fetch", "Missing argument 'name'", "gancomp data fetch --help"),
    ("data check", "Missing argument 'folder'", "gancomp data check --help"),
    ("methods nosuch", "method nosuch", "dcd"),
    ("methods dcd surplus", "surplus", "gancomp methods --help"),
    ("methods --paper dcd", "--paper", "gancomp methods --help"),
    ("demo --frob", "--frob", "gancomp demo --help"),
    # data: missing, empty, one-sided, corrupt, of the wrong kind
    ("distill", "--dataset", "gancomp demo"),
    ("pretrain", "--dataset", "gancomp data list"),
    (f"distill --dataset nosuch {TRAIN}", "nosuch", "horse2zebra"),
    (f"pretrain --dataset nosuch {SMALL}", "nosuch", "gancomp demo"),
    (f"distill --dataset empty {TRAIN}", "--dataset empty", "trainA/"),
    (f"distill --dataset onesided {TRAIN}", "no trainB/", "gancomp demo"),
    (f"distill --dataset hollow {TRAIN}", "trainB/ has no images", "found neither"),
    (f"distill --dataset corrupt {TRAIN}", "none of 2 files is usable", "x0.png"),
    (f"distill --dataset spoiled --strict {TRAIN}", "bad.png", "not a readable image"),
    (f"distill --dataset notes.txt {TRAIN}", "notes.txt", "give the folder"),
    (f"distill --dataset data --task paired {TRAIN}", "no pairs", "--task unpaired"),
    (f"distill --dataset data --task both {TRAIN}", "--task both", "unpaired or paired"),
    (f"distill --dataset data --direction CtoA {TRAIN}", "--direction CtoA", "AtoB or BtoA"),
    ("data check nosuch", "nosuch", "Known names"),
    ("data check notes.txt", "notes.txt", "give the folder"),
    ("data check data --task both", "--task both", "unpaired or paired"),
    ("data fetch horse2zebar", "horse2zebar", "did you mean horse2zebra"),
    # impossible numbers
    (f"distill --dataset data {TRAIN} --ratio 0", "--ratio 0", "greater than 0"),
    (f"distill --dataset data {TRAIN} --ratio -1", "--ratio -1", "greater than 0"),
    (f"distill --dataset data {TRAIN} --ratio 2", "--ratio 2", "at most 1"),
    (f"distill --dataset data {TRAIN} --ratio nan", "--ratio nan", "at most 1"),
    (f"distill --dataset data {TRAIN} --width 0", "--width 0", "at least 1"),
    (f"distill --dataset data {TRAIN} --student-width 0", "--student-width 0", "at least 1"),
    (f"distill --dataset data {TRAIN} --d-width 0", "--d-width 0", "at least 1"),
    (f"distill --dataset data {TRAIN} --d-layers 99", "--d-layers 99", "at most 8"),
    (f"distill --dataset data {TRAIN} --dropout 1", "--dropout 1", "at most"),
    (f"distill --dataset data {TRAIN} --size 30", "--size 30", "multiple of 4"),
    (f"distill --dataset data {TRAIN} --size 0", "--size 0", "at least 8"),
    (f"distill --dataset data {TRAIN} --size 32x30", "--size 32x30", "multiple of 4"),
    (f"distill --dataset data {TRAIN} --size 32x4", "--size 4", "at least 8"),
    (f"distill --dataset data {TRAIN} --size 32,64", "--size 32,64: is no size", "--size 256x512"),
    (f"distill --dataset data {TRAIN} --size 8x64", "--size 8x64", "larger --size"),
    (f"distill --dataset data {TRAIN} --size 32x64 --load-size 48", "--load-size 48", "32x64"),
    (f"distill --dataset data {TRAIN} --load-size 16", "--load-size 16", "--size 32"),
    (f"distill --dataset data {TRAIN} --batch-size 0", "--batch-size 0", "at least 1"),
    (f"distill --dataset data {TRAIN} --lr inf", "--lr inf", "finite"),
    (f"distill --dataset data {TRAIN} --lambda-dcd -1", "--lambda-dcd -1", "at least 0"),
    (f"distill --dataset data {TRAIN} --seed -1", "--seed -1", "at least 0"),
    (f"distill --dataset data {TRAIN} --workers -1", "--workers -1", "at least 0"),
    (f"distill --dataset data {TRAIN} --max-time soon", "--max-time soon", "25m"),
    (f"pretrain --dataset data {SMALL} --epochs 0 --decay-epochs 0", "--epochs 0", "raise one"),
    (f"pretrain --dataset data {SMALL} --checkpoint-every 0", "--checkpoint-every 0", "at least"),
    ("profile --arch resnet9 --width 0", "--width 0", "1 or more"),
    ("profile --arch resnet9 --width wide", "'wide'", "gancomp profile --help"),
    ("profile --arch resnet9 --in-channels 0", "--in-channels 0", "1 or more"),
    ("profile --arch resnet9 --size 0", "--size 0", "at least 1"),
    ("profile --arch resnet9 --batch-size 0", "--batch-size 0", "at least 1"),
    ("profile --arch stylegan2 --size 32x64", "--size 32x64: stylegan2", "--size 32"),
    ("profile --arch resnet9 --size 32x", "--size 32x: is no size", "--size 256x512"),
    ("profile --arch unet256 --size 100", "unet256", "another --size"),
    ("translate student.safetensors photo.png -o new --size 64x2", "64x2", "from 8 to 4096"),
    ("translate student.safetensors photo.png -o new --size 2", "--size 2", "from 8 to 4096"),
    ("translate student.safetensors photo.png -o new --size 1000000", "1000000", "from 8 to 4096"),
    (f"{FAKE} --batch-size 0", "--batch-size 0", "at least 1"),
    ("demo -o new --max-steps 0", "--max-steps 0", "at least 1"),
    ("demo -o new --seed -1", "--seed -1", "at least 0"),
    (f"distill --dataset data {TRAIN} --latency-budget soon", "-budget soon", "write 25ms"),
    (f"distill --dataset data {TRAIN} --latency-budget 0ms", "-budget 0ms", "write 25ms"),
    (f"distill --dataset data {TRAIN} --latency-budget 1e-9", "-budget 1e-9", "write 25ms"),
    (f"distill --dataset data {TRAIN} --latency-budget .0001ms", "width 1 takes", "give more"),
    ("bench infer --width 0", "--width 0", "1 or more"),
    ("bench infer --size 0", "--size 0", "at least 1"),
    ("bench infer --size 30", "--size 30", "multiple of 4"),
    ("bench infer --batch-size 0", "--batch-size 0", "at least 1"),
    ("bench infer --rounds 0", "--rounds 0", "at least 1"),
    ("bench infer --threads 0", "--threads 0", "use 1 to "),
    ("bench infer --arch resnet8", "--arch resnet8", "did you mean resnet9"),
    ("bench infer --arch patchgan", "--arch patchgan", "choose a generator"),
    ("bench infer --device tpu", "--device tpu", "cpu"),
    ("bench train --size 16", "--size 16", "at least 96"),
    ("bench train --size 98", "--size 98", "multiple of 4"),
    ("bench train --size 92", "--size 92", "at least 96"),
    ("bench train --batch-size 0", "--batch-size 0", "at least 1"),
    ("bench train --width 3", "--width 3", "at least 4"),
    ("bench train --d-width 0", "--d-width 0", "at least 1"),
    ("bench train --rounds 0", "--rounds 0", "at least 1"),
    ("bench train --rounds many", "'many'", "gancomp bench train --help"),
    ("bench train --threads 0", "--threads 0", "at least 1"),
    ("bench train --device tpu", "--device tpu", "cuda:N"),
    ("bench synthesis --size 48", "--size 48", "32, 64, 128"),
    ("bench synthesis --batch-size 6", "--batch-size 6", "multiple of 4"),
    ("bench synthesis --width 0", "--width 0", "at least 1"),
    ("bench synthesis --size 256 --width 3", "--width 3", "4 is the least"),
    ("bench synthesis --rounds 0", "--rounds 0", "at least 1"),
    ("bench synthesis --cycles 0", "--cycles 0", "at least 1"),
    ("bench synthesis --threads 0", "--threads 0", "at least 1"),
    ("bench synthesis --device tpu", "--device tpu", "cuda:N"),
    ("bench data --dataset nosuch", "nosuch", "horse2zebra"),
    ("bench data", "--dataset", "gancomp bench data --help"),
    ("bench data --dataset pairs", "--dataset pairs", "unpaired"),
    ("bench data --dataset data --rounds 0", "--rounds 0", "at least 1"),
    ("bench data --dataset data --workers -1", "--workers -1", "0 or more"),
    ("bench data --dataset data --step-ms 0", "--step-ms 0", "at least 1"),
    ("bench fid --real nosuch --fake data/testA", "--real nosuch", "folder of images"),
    ("bench fid --real data/testB --fake empty", "--fake empty", "2 or more"),
    ("bench fid --real data/testB --fake data/testA --rounds 0", "--rounds 0", "at least 1"),
    (f"distill --dataset data {TRAIN} --cache maybe", "--cache maybe", "auto, on, off"),
    (f"distill --dataset data {TRAIN} --compile maybe", "--compile maybe", "auto, on, off"),
    # wrong names
    (f"distill --dataset data {TRAIN} --method dvd", "--method dvd", "did you mean dcd"),
    (f"distill --dataset data {TRAIN} --method teacher-only", "does not distil", "dcd"),
    (f"distill --dataset data {TRAIN} --preset dcd-relaesed", "dcd-relaesed", "dcd-released?"),
    (f"pretrain --dataset data {SMALL} --preset dcd", "--preset dcd", "standard"),
    (f"distill --dataset data {TRAIN} --arch resnet8", "--arch resnet8", "did you mean resnet9"),
    (f"distill --dataset data {TRAIN} --arch patchgan", "--arch", "choose a generator"),
    (f"distill --dataset data {TRAIN} --student-arch unet", "--student-arch unet", "unet256"),
    (f"distill --dataset data {TRAIN} --norm layer", "--norm layer", "instance, batch"),
    (f"distill --dataset data {TRAIN} --gan wgan", "--gan wgan", "lsgan"),
    (f"distill --dataset data {TRAIN} --connector relu", "--connector relu", "conv-bn-relu"),
    (f"distill --dataset data {TRAIN} --device tpu", "--device tpu", "cuda:N"),
    (f"distill --dataset data {TRAIN} --device cuda:99", "--device cuda:99", "--device cpu"),
    (f"distill --dataset data {TRAIN} --precision fp8", "--precision fp8", "bf16"),
    (f"distill --dataset data {SMALL} --perceptual vgg13", "--perceptual vgg13", "vgg16"),
    (f"distill --dataset data {TRAIN} --config nosuch.toml", "nosuch.toml", "check the path"),
    (f"distill --dataset data {TRAIN} --config broken.toml", "broken.toml", "TOML"),
    (f"distill --dataset data {TRAIN} --config odd.toml", "run.sped", "did you mean seed"),
    ("profile --arch resnet8", "--arch resnet8", "did you mean resnet9"),
    ("profile --arch resnet9 --norm layer", "layer", "instance, batch"),
    ("export student.safetensors -o new.safetensors --format onxx", "onxx", "safetensors"),
    ("export student.safetensors -o new.bin", "-o new.bin", "safetensors"),
    ("translate student.safetensors photo.png -o new --device tpu", "--device tpu", "cpu"),
    (f"{FAKE} --device tpu", "--device tpu", "cpu"),
    ("eval-fid student.safetensors --dataset data --real-split some", "some", "all, test"),
    ("eval-fid student.safetensors --dataset data --direction B", "--direction B", "AtoB or BtoA"),
    ("demo -o new --device tpu", "--device tpu", "cpu"),
    # models: missing, junk, damaged, hostile, of the wrong kind
    ("export nosuch.safetensors -o new.safetensors", "nosuch.safetensors", "check the path"),
    ("export junk.pth -o new.safetensors", "junk.pth", "neither safetensors nor"),
    ("export empty.pth -o new.safetensors", "empty.pth", "again"),
    ("export cut.safetensors -o new.safetensors", "cut.safetensors", "again"),
    ("export hostile.pth -o new.safetensors", "hostile.pth", "state_dict"),
    ("export hostile.pkl -o new.safetensors", "hostile.pkl", "state_dict"),
    ("export empty -o new.safetensors", "empty", "give a model file"),
    ("export student.safetensors -o new.safetensors --part G_A", "G_A", "remove it"),
    ("profile nosuch.safetensors", "nosuch.safetensors", "check the path"),
    ("profile hostile.pth", "hostile.pth", "state_dict"),
    ("profile empty", "empty", "saved at least once"),
    ("translate hostile.pth photo.png -o new", "hostile.pth", "state_dict"),
    ("translate judge.safetensors photo.png -o new", "judge.safetensors", "give a generator"),
    ("translate many.safetensors photo.png -o new", "9 channels", "at most 8"),
    ("translate student.safetensors photo.png -o new --in-range 5", "--in-range 5", "0,65535"),
    ("translate student.safetensors photo.png -o new --out-range 2,1", "--out-range 2,1", "lower"),
    ("translate student.safetensors photo.png -o new --format gif", "--format gif", "png, tiff"),
    ("translate sr.safetensors photo.png -o new --in-range 0,1", "--in-range 0,1", "remove it"),
    ("translate sr.safetensors photo.png -o new --out-range 0,1", "--out-range", "remove it"),
    ("translate style.safetensors photo.png -o new --in-range 0,x", "--in-range 0,x", "0,65535"),
    ("eval-fid --real data/testB --fake data/testA --in-range 0,1", "--in-range", "--out-range"),
    ("eval-fid style.safetensors --dataset data --in-range 0,1", "--in-range 0,1", "remove it"),
    (f"pretrain --dataset data {SMALL} --in-channels 9", "--in-channels 9", "at most 8"),
    (f"pretrain --dataset data {SMALL} --out-channels 0", "--out-channels 0", "at least 1"),
    (f"pretrain --dataset data {SMALL} --in-channels 2", "--in-channels 2", "has 3 of uint8"),
    (f"pretrain --dataset data {SMALL} --in-range 1", "--in-range 1", "0,65535"),
    (f"pretrain --dataset data {SMALL} --in-range nan,1", "--in-range nan,1", "finite"),
    (f"pretrain --dataset data {SMALL} --config range.toml", "--in-range [1]", "two finite"),
    (f"pretrain {SR} --in-channels 1", "--in-channels", "no effect"),
    (f"pretrain {SR} --out-range 0,1", "--out-range", "no effect"),
    (
        f"pretrain --dataset data {SMALL} --in-channels 1 --lambda-identity 0.5",
        "--lambda-identity 0.5",
        "1 and 3 channels",
    ),
    (
        f"distill --dataset data {FROM_FILE} --teacher gray.safetensors --in-channels 3",
        "--in-channels 3",
        "trained with 1",
    ),
    ("translate empty photo.png -o new", "empty", "saved at least once"),
    ("eval-fid", "no model given", "give a model file"),
    ("eval-fid hostile.pth --dataset data", "hostile.pth", "state_dict"),
    ("eval-fid judge.safetensors --dataset data", "judge.safetensors", "give a generator"),
    ("eval-fid student.safetensors", "student.safetensors", "give --dataset"),
    (f"distill --dataset data {FROM_FILE} --teacher nosuch.pth", "nosuch.pth", "check the path"),
    (f"distill --dataset data {FROM_FILE} --teacher hostile.pth", "hostile.pth", "state_dict"),
    (f"distill --dataset data {FROM_FILE} --teacher judge.safetensors", "--teacher judge", "gener"),
    (f"distill --dataset data {FROM_FILE} --teacher empty", "teacher.safetensors", "check"),
    (f"pretrain --dataset data {SMALL} --teacher student.safetensors", "--arch", "follows from"),
    # weights
    (f"distill --dataset data {SMALL} --vgg nosuch.pth", "--vgg nosuch.pth", "--perceptual none"),
    (f"distill --dataset data {SMALL} --vgg junk.pth", "junk.pth", "GANCOMP_VGG16"),
    (f"distill --dataset data {SMALL} --vgg hostile.pth", "hostile.pth", "GANCOMP_VGG16"),
    (f"distill --dataset data {SMALL} --vgg cut.safetensors", "cut.safetensors", "--perceptual"),
    (f"{FAKE}", "pt_inception", "delete it to have it downloaded again"),
    # images and statistics for scoring and translating
    ("translate student.safetensors nosuch.png -o new", "nosuch.png", "check the path"),
    ("translate student.safetensors empty -o new", "empty", "give image files"),
    (
        "translate student.safetensors notes.txt -o new --strict",
        "notes.txt",
        "no format that is read",
    ),
    ("eval-fid --fake nosuch --real data/testA", "--fake nosuch", "folder of images"),
    ("eval-fid --fake data/testA --real empty", "--real empty", "check the path"),
    ("eval-fid student.safetensors --recursive", "--recursive", "no effect without --real"),
    ("eval-fid --fake data/testA --real cut.npz", "cut.npz", "mu and sigma"),
    ("eval-fid --fake data/testA --real nosuch.npz", "nosuch.npz", "no such file"),
    ("eval-fid --fake data/testA", "--fake", "needs --real"),
    ("eval-fid student.safetensors --dataset onesided", "no trainB/", "gancomp demo"),
    # images out of noise
    ("generate", "Missing argument 'model'", "gancomp generate --help"),
    ("generate style.safetensors", "--out", "gancomp generate --help"),
    ("generate style.safetensors -o new -n 0", "-n 0", "at least 1"),
    ("generate style.safetensors -o new --seed -1", "--seed -1", "from 0"),
    ("generate style.safetensors -o new --truncation 0", "--truncation 0", "remove it"),
    ("generate style.safetensors -o new --classes 0", "--classes 0", "remove it"),
    ("generate style.safetensors -o new --batch-size 0", "--batch-size 0", "at least 1"),
    ("generate style.safetensors -o new --device tpu", "--device tpu", "cpu"),
    ("generate nosuch.safetensors -o new", "nosuch.safetensors", "check the path"),
    ("generate hostile.pth -o new", "hostile.pth", "state_dict"),
    ("generate empty -o new", "empty", "saved at least once"),
    ("generate judge.safetensors -o new", "judge.safetensors", "give a generator"),
    ("generate student.safetensors -o new", "student.safetensors", "gancomp translate"),
    ("translate style.safetensors photo.png -o new", "style.safetensors", "gancomp generate"),
    ("eval-sr style.safetensors --dataset data/testA", "style.safetensors", "gancomp generate"),
    ("eval-fid style.safetensors", "style.safetensors", "give --dataset"),
    ("eval-fid style.safetensors --dataset data", "trainA/", "folder of images"),
    ("eval-fid style.safetensors --dataset data/testA --size 32x64", "32x64", "remove it"),
    ("eval-fid style.safetensors --dataset data/testA --size 32", "--size 32", "remove it"),
    ("eval-fid style.safetensors --dataset data/testA --num 1", "--num 1", "at least 2"),
    ("eval-fid student.safetensors --dataset data --num 10", "--num", "remove it"),
    (f"{FAKE} --mirror", "--mirror", "remove it"),
    # super-resolution models and the originals they are scored against
    ("eval-sr sr.safetensors", "Missing option '--dataset'", "gancomp eval-sr --help"),
    ("eval-sr --dataset data/testA", "no model given", "give a model file"),
    ("eval-sr nosuch.safetensors --dataset data/testA", "nosuch.safetensors", "check the path"),
    ("eval-sr hostile.pth --dataset data/testA", "hostile.pth", "state_dict"),
    ("eval-sr student.safetensors --dataset data/testA", "student.safetensors", "eval-fid"),
    ("eval-sr judge.safetensors --dataset data/testA", "judge.safetensors", "give a generator"),
    ("eval-sr sr.safetensors --dataset nosuch", "--dataset nosuch", "Known names"),
    ("eval-sr sr.safetensors --dataset Set99", "Set99", "Set5, Set14"),
    ("eval-sr sr.safetensors --dataset empty", "--dataset empty", "a folder of images"),
    ("eval-sr sr.safetensors --dataset data", "has no images", "data/trainA?"),
    ("eval-sr sr.safetensors --dataset notes.txt", "notes.txt", "give the folder"),
    ("eval-sr sr.safetensors --dataset corrupt/trainA", "none of 2 files", "x0.png"),
    ("eval-sr sr.safetensors --dataset spoiled/trainA --strict", "bad.png", "not a readable"),
    ("eval-sr sr.safetensors --dataset data/testA --scale 3", "--scale 3", "2 or 4"),
    ("eval-sr sr.safetensors --dataset data/testA --scale 2", "enlarges by 4", "remove the option"),
    ("eval-sr sr.safetensors --dataset data/testA --scale big", "'big'", "gancomp eval-sr --help"),
    ("eval-sr sr.safetensors --dataset data/testA --device tpu", "--device tpu", "cpu"),
    ("eval-sr sr.safetensors --dataset data/testA --part G_A", "G_A", "remove it"),
    ("eval-sr sr.safetensors --dataset dots --strict", "dot.png", "use a larger image"),
    ("eval-fid sr.safetensors --dataset data", "sr.safetensors", "gancomp eval-sr"),
    # places that cannot be written
    (f"distill --dataset data {TRAIN} --out notes.txt", "--out notes.txt", "choose a folder"),
    (f"distill --dataset data {TRAIN} --out notes.txt/run", "notes.txt/run", "choose another"),
    (f"distill --dataset data {TRAIN} --out data", "other files", "new or empty folder"),
    (f"pretrain --dataset data {SMALL} --out /proc/run", "/proc/run", "choose another"),
    ("export student.safetensors -o notes.txt/new.safetensors", "notes.txt", "another place"),
    ("export student.safetensors -o /proc/new.safetensors", "/proc/new", "another place"),
    ("export student.safetensors -o student.safetensors", "the model itself", "another file"),
    ("translate student.safetensors photo.png -o notes.txt", "notes.txt", "another place"),
    ("translate student.safetensors photo.png -o .", "overwrite", "another folder"),
    (f"{FAKE} --save-stats notes.txt/new.npz", "notes.txt/new.npz", "existing folder"),
    ("demo -o notes.txt/new", "notes.txt", "choose another place"),
    # runs
    (f"distill --dataset data {TRAIN} --resume --out nosuch", "nosuch", "remove --resume"),
    ("distill --resume", "--resume", "--out"),
    ("pretrain --resume --out empty", "empty", "check the path"),
    # options that would be ignored, or contradict each other
    (f"distill --dataset data {TRAIN} --ratio 0.5 --student-width 4", "--ratio", "one of them"),
    (f"distill --dataset data {TRAIN} --ratio 0.5 --latency-budget 9ms", "--ratio", "one of them"),
    (f"distill --dataset data {TRAIN} --student-width 4 --latency-budget 9", "-width", "one of"),
    ("distill --dataset data --resume --latency-budget 9ms", "--latency-budget", "--out"),
    (f"distill --dataset data {TRAIN} --freeze-teacher", "--freeze-teacher", "--teacher FILE"),
    (f"distill --dataset data {TRAIN} --teacher-block-epochs 3", "--student-block-epochs", "both"),
    (f"distill --dataset data {TRAIN} --lambda-l1 3", "--lambda-l1", "task unpaired; remove it"),
    (f"pretrain --dataset data {SMALL} --lambda-l1 3", "--lambda-l1", "remove it"),
    (
        f"distill --dataset pairs {TRAIN} --lambda-cycle 3",
        "--lambda-cycle",
        "task paired; remove it",
    ),
    (f"pretrain --dataset pairs {SMALL} --lambda-identity 1", "--lambda-identity", "remove it"),
    (
        f"distill --dataset data {SMALL} --perceptual none --lambda-style 3",
        "--lambda-style",
        "none",
    ),
    (
        f"distill --dataset data {SMALL} --perceptual none --perceptual-normalise",
        "normal",
        "remove",
    ),
    (f"distill --dataset data {TRAIN} --vgg junk.pth", "--vgg junk.pth", "drop one"),
    (
        f"distill --dataset data {TRAIN} --no-student-gan --lambda-student 2",
        "-student",
        "remove it",
    ),
    (f"distill --dataset data {TRAIN} --lambda-dcd 0 --connector conv", "--connector", "remove it"),
    (
        f"distill --dataset data {FROM_FILE} --teacher student.safetensors --width 16",
        "--width",
        "4",
    ),
    (
        f"distill --dataset data {FROM_FILE} --teacher student.safetensors --freeze-teacher "
        "--lambda-cycle 3",
        "--lambda-cycle",
        "--freeze-teacher; remove it",
    ),
    (f"pretrain --dataset data {SMALL} --lambda-cycle 0 --lambda-identity 1", "identity", "remove"),
    (f"distill --dataset data {TRAIN} --config foreign.toml", "lambda_dvd", "--lambda-dcd?"),
    (f"pretrain --dataset data {SMALL} --config knobs.toml", "--lambda-dcd", "teacher-only"),
    (f"pretrain --dataset data {SMALL} --config frozen.toml", "--config", "remove"),
    ("profile --arch resnet9 student.safetensors", "--arch resnet9", "one of them"),
    ("profile --width 16", "--width 16", "--arch"),
    ("profile student.safetensors --norm batch", "--norm batch", "--arch"),
    ("profile --in-channels 1", "--in-channels 1", "--arch"),
    ("profile --part G_A", "--part G_A", "give that file too"),
    (f"{FAKE} --size 32", "--size", "remove them"),
    (f"{FAKE} --direction BtoA", "--direction", "remove them"),
    (f"{FAKE} --real-split test", "--real-split", "remove one of them"),
    (f"{FAKE} --save-stats new.txt", "new.txt", ".npz"),
    ("eval-fid --fake data/testA --real cut.npz --real data/testB", "cut.npz", "one .npz"),
    ("eval-fid --fake data/testA --real cut.npz --save-stats new.npz", "new.npz", "remove it"),
    ("eval-fid student.safetensors --fake data/testA --real data/testB", "--fake", "one of them"),
    # super-resolution
    (f"distill {SR} --scale 3", "--scale 3", "2 or 4"),
    (f"distill {SR} --size 32x48", "--size 32x48: --task super-resolution", "--size 32"),
    (f"distill {SR} --size 30", "--size 30", "use 28 or 32"),
    (f"distill {SR} --size 24", "--size 24", "multiple of 16"),
    (f"distill {SR} --size 16", "--size 16", "larger --size"),
    (f"distill {SR} --size 48", "training crop of 48", "smaller --size"),
    (f"distill {SR} --blocks 0", "--blocks 0", "at least 1"),
    (f"distill {SR} --student-blocks 0", "--student-blocks 0", "at least 1"),
    (f"distill {SR} --norm instance", "--norm instance", "remove the option"),
    (f"distill {SR} --d-layers 2", "layers", "it has"),
    (f"distill {SR_PLAIN} --arch resnet9", "keeps their size", "super-resolution"),
    (f"distill --dataset data {TRAIN} --arch srresnet --norm batch", "enlarges", "unpaired data"),
    (f"distill --dataset data {TRAIN} --blocks 3", "blocks", "it has"),
    (f"distill {SR} --method dcd", "--method dcd", "gan2g"),
    (f"distill --dataset data {TRAIN} --method gan2g", "--method gan2g", "dcd"),
    (f"distill {SR} --method gan2gan --kd-adv-weight -1", "--kd-adv-weight -1", "at least 0"),
    (f"distill {SR} --method gan2g --al-start-step 3", "--al-start-step", "--kd-weight"),
    (f"distill {SR} --method no-kd --kd-weight 1", "--kd-weight", "--adv-weight"),
    (f"distill {SR} --kd-loss style", "--kd-loss style", "pixel, vgg"),
    (f"distill {SR} --kd-weight 0 --kd-loss vgg", "--kd-loss", "remove it"),
    (f"distill {SR} --content-scale 0", "--content-scale 0", "greater than 0"),
    (f"distill {SR} --content-tap relu9_9", "relu9_9", "relu5_3"),
    (f"distill {SR} --perceptual none", "--perceptual none", "vgg19"),
    (f"distill {SR} --perceptual vgg19 --vgg nosuch.pth", "nosuch.pth", "GANCOMP_VGG19"),
    (f"distill {SR} --select held-out", "--select held-out", "eval-sr"),
    (f"distill {SR} --train-teacher", "--train-teacher", "remove the option"),
    (f"distill {SR} --lambda-l1 3", "--lambda-l1", "remove it"),
    (f"distill {SR} --load-size 40", "--load-size", "remove it"),
    (f"distill {SR} --direction BtoA", "--direction", "remove it"),
    (f"distill {SR_PLAIN} --teacher student.safetensors", "task unpaired", "another teacher"),
    (f"distill {SR} --student nosuch.safetensors", "nosuch.safetensors", "check the path"),
    (f"distill {SR} --student sr.safetensors --ratio 1", "--ratio 1", "follows from --student"),
    (f"distill {SR} --student judge.safetensors", "--student", "choose a generator"),
    (f"distill {SR} --student x2.safetensors", "enlarges 2 times", "one --scale"),
    (
        f"distill {SR} --student sr.safetensors --student-srresnet-steps 3",
        "--student-srresnet-steps",
        "--student; remove it",
    ),
    (
        f"distill {SR_PLAIN} --teacher up.safetensors --method gan2gan "
        "--discriminator-from-teacher",
        "--discriminator-from-teacher",
        "give the run",
    ),
    (
        f"distill {SR_PLAIN} --teacher up.safetensors --teacher-srresnet-steps 3",
        "--teacher-srresnet-steps",
        "--teacher; remove it",
    ),
    (f"distill {SR_PLAIN} --method no-kd --teacher up.safetensors", "--teacher", "remove it"),
    (f"distill {SR} --preset dcd", "--preset dcd", "sr-short"),
    (f"distill --dataset data {TRAIN} --preset sr-short", "--preset sr-short", "dcd"),
    (f"distill --dataset data {TRAIN} --teacher-gan-steps 5", "--teacher-gan-steps", "remove it"),
    (f"distill {SR} --method g2g-al --teacher-gan-steps 5", "--teacher-gan-steps", "remove it"),
    (f"distill {SR} --teacher-content-steps 0", "--teacher-content-steps 0", "at least 1"),
    (f"pretrain {SR} --objective pixel", "--perceptual", "--objective pixel"),
    (f"pretrain {SR} --objective sharp", "--objective sharp", "gan, content, pixel"),
    (f"pretrain --dataset data {SMALL} --perceptual random", "--perceptual", "remove them"),
    ("profile --blocks 3", "--blocks 3", "--arch"),
    ("profile --arch resnet9 --blocks 3", "'blocks'", "it has"),
    ("profile --arch srresnet --scale 8", "--scale 8", "2 or 4"),
    ("profile --arch srgan-discriminator", "srgan-discriminator", "another --size"),
    # synthesis
    (f"distill {SYNTHESIS} --size 32x64", "--size 32x64: --task synthesis", "--size 32"),
    (f"distill {SYNTHESIS} --size 24", "--size 24", "16, 32"),
    (f"distill {SYNTHESIS} --size 16 --load-size 32", "--load-size", "remove it"),
    (f"distill {SYNTHESIS} --batch-size 6", "--batch-size 6", "multiple of 4"),
    (f"distill {SYNTHESIS} --accumulation 3", "--accumulation 3", "--batch-size 4"),
    (f"distill {SYNTHESIS} --accumulation 0", "--accumulation 0", "at least 1"),
    (f"distill {SYNTHESIS} --lambda-dgl -1", "--lambda-dgl -1", "at least 0"),
    (f"pretrain {SYNTHESIS} --lambda-dgl 1", "--lambda-dgl", "gancomp pretrain --help"),
    (f"distill {SYNTHESIS} --teacher-d moving", "--teacher-d moving", "frozen, finetune"),
    (f"distill {SYNTHESIS} --d-multiplier 2", "--d-multiplier 2", "at most 1"),
    (f"distill {SYNTHESIS} --style-mixing 2", "--style-mixing 2", "at most 1"),
    (f"distill {SYNTHESIS} --d-steps 0", "--d-steps 0", "at least 1"),
    (f"distill {SYNTHESIS} --d-steps 101", "--d-steps 101", "at most 100"),
    (f"distill {SYNTHESIS} --d-steps 1.5", "'1.5'", "gancomp distill --help"),
    (f"distill --dataset data {TRAIN} --d-steps 2", "--d-steps", "it belongs to --method dgl"),
    (f"distill {SYNTHESIS} --turn-order d-first", "--turn-order d-first", "discriminator-first"),
    (
        f"pretrain --dataset data {SMALL} --turn-order generator-first",
        "--turn-order",
        "--method dgl",
    ),
    (f"distill {SYNTHESIS} --ema-beta 1", "--ema-beta 1", "at most"),
    (f"distill {SYNTHESIS} --ema-kimg 0", "--ema-kimg 0", "greater than 0"),
    (f"distill {SYNTHESIS} --r1-gamma much", "--r1-gamma much", "10, 0 or auto"),
    (f"distill {SYNTHESIS} --r1-gamma -1", "--r1-gamma -1", "at least 0"),
    (f"distill {SYNTHESIS} --r1-every 0", "--r1-every 0", "at least 1"),
    (f"distill {SYNTHESIS} --path-weight -1", "--path-weight -1", "at least 0"),
    (f"distill {SYNTHESIS} --d-lr 0", "--d-lr 0", "greater than 0"),
    (f"distill {SYNTHESIS} --stage1-kimg -1", "--stage1-kimg -1", "at least 0"),
    (f"distill {SYNTHESIS} --stage2-kimg 0", "--stage2-kimg 0", "greater than 0"),
    (f"distill {SYNTHESIS} --stage2-kimg 1", "--stage2-kimg and --max-steps", "one of them"),
    (f"distill {SYNTHESIS} --lambda-dgl 0 --teacher-d finetune", "--teacher-d", "remove it"),
    (f"distill {SYNTHESIS} --lambda-dgl 0 --teacher-kimg 5", "--teacher-kimg", "remove it"),
    (f"distill {SYNTHESIS} --teacher-gan-steps 5", "--teacher-gan-steps", "--teacher-kimg"),
    (f"distill {SYNTHESIS} --teacher-kimg 0", "--teacher-kimg 0", "greater than 0"),
    (f"pretrain {SYNTHESIS} --teacher-kimg 1", "--teacher-kimg and --max-steps", "one of them"),
    (f"distill --dataset data {TRAIN} --teacher-kimg 1", "--teacher-kimg", "remove it"),
    (f"distill {SYNTHESIS} --r1-gamma 0 --r1-every 4", "--r1-every", "remove it"),
    (f"distill {SYNTHESIS} --path-weight 0 --path-every 2", "--path-every", "remove it"),
    (f"distill {SYNTHESIS} --ema-beta 0.9 --ema-kimg 3", "--ema-kimg", "--ema-beta; remove it"),
    (f"distill {SYNTHESIS} --perceptual random", "--perceptual", "remove them"),
    (f"pretrain {SYNTHESIS} --perceptual random", "--perceptual", "remove them"),
    (f"distill {SYNTHESIS} --select held-out", "--select held-out", "eval-fid"),
    (f"distill {SYNTHESIS} --direction BtoA", "--direction", "remove it"),
    (f"distill {SYNTHESIS} --lambda-cycle 3", "--lambda-cycle", "remove it"),
    (f"distill {SYNTHESIS} --pool-size 3", "--pool-size", "remove it"),
    (f"distill {SYNTHESIS} --student-srresnet-steps 3", "--student-srresnet", "remove it"),
    (f"distill {SYNTHESIS} --lambda-dcd 3", "--lambda-dcd", "--lambda-dgl"),
    (f"distill {SYNTHESIS} --method gan2g", "--method gan2g", "dgl"),
    (f"distill {SYNTHESIS} --preset dcd", "--preset dcd", "dgl-short"),
    (f"distill {SYNTHESIS} --arch resnet9", "keeps their size", "synthesis data"),
    (f"distill {SYNTHESIS} --student-arch biggan", "--student-arch", "remove it"),
    (f"distill {SYNTHESIS} --train-teacher", "--train-teacher", "remove"),
    (f"distill {SYNTHESIS} --norm batch", "norm", "it has"),
    (f"distill {SYNTHESIS} --dropout 0.5", "dropout", "it has"),
    (f"distill {SYNTHESIS} --width 8 --d-width 8 --d-layers 2", "layers", "it has"),
    (f"distill {BIGGAN} --narrow-const", "--narrow-const", "remove it"),
    (f"distill {BIGGAN} --path-weight 2", "--path-weight 2", "use --path-weight 0"),
    (f"distill {BIGGAN} --style-mixing 0.9", "--style-mixing 0.9", "use --style-mixing 0"),
    (f"distill {BIGGAN} --size 16", "--size 16", "32, 64"),
    (f"distill {SYNTHESIS} --student style.safetensors", "--student style", "give the run"),
    (f"distill {SYNTHESIS} --teacher style.safetensors", "no discriminator", "--lambda-dgl 0"),
    (f"distill {SYNTHESIS} --teacher style.safetensors --size 32", "--size 32", "remove it"),
    (f"distill {SYNTHESIS} --teacher style.safetensors --width 9", "--width 9", "remove --width"),
    (f"distill {SYNTHESIS} --teacher student.safetensors", "task unpaired", "another teacher"),
    (f"distill {SYNTHESIS} --teacher judge.safetensors", "--teacher judge", "another"),
    (f"distill --dataset data {TRAIN} --lambda-dgl 1", "--lambda-dgl", "--lambda-dcd"),
    (f"distill --dataset data {TRAIN} --stage1-kimg 1", "--stage1-kimg", "remove it"),
    (f"distill --dataset data {FROM_FILE} --arch stylegan2", "out of noise", "unpaired data"),
    (f"distill --dataset data {FROM_FILE} --teacher style.safetensors", "synthesis", "another"),
    ("distill --dataset empty --task synthesis", "--dataset empty", "a folder of images"),
    (f"distill --dataset data {TRAIN} --narrow-const", "--narrow-const", "remove it"),
]
COMMANDS = (
    *("pretrain", "distill", "export", "profile", "eval-fid", "eval-sr", "translate", "data"),
    "demo",
    "methods",
)


class Hostile:
    """A pickle of this would make a folder called `executed` in the current one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the cases name, beside what they must not find."""
    root = tmp_path_factory.mktemp("wrong")
    write_demo_set(root / "data", size=32, train=2, test=2)
    write_demo_set(root / "pairs", size=32, train=2, test=2, paired=True)
    image = next((root / "data" / "testA").iterdir())
    shutil.copy(image, root / "photo.png")
    for name in ("empty", "onesided/trainA", "hollow/trainA", "hollow/trainB"):
        (root / name).mkdir(parents=True)
    shutil.copy(image, root / "onesided" / "trainA")
    shutil.copy(image, root / "hollow" / "trainA")
    shutil.copytree(root / "data", root / "spoiled")
    (root / "spoiled" / "trainA" / "bad.png").write_bytes(b"no image")
    for side in "AB":
        (root / "corrupt" / f"train{side}").mkdir(parents=True)
        for index in range(2):
            name = f"{'xy'[side == 'B']}{index}.png"
            (root / "corrupt" / f"train{side}" / name).write_bytes(image.read_bytes()[:4])
    write_model(root / "student.safetensors")
    write_model(root / "judge.safetensors", "patchgan", role="discriminator")
    write_model(root / "sr.safetensors", "srresnet", settings={"blocks": 1})
    (root / "dots").mkdir()
    Image.new("RGB", (1, 1)).save(root / "dots" / "dot.png")
    write_model(root / "x2.safetensors", "srresnet", settings={"blocks": 1, "scale": 2})
    up = {"task": "super-resolution", "role": "teacher", "settings": {"blocks": 2}}
    write_model(root / "up.safetensors", "srresnet", **up)
    small = {"resolution": 16, "style_channels": 8, "mapping_layers": 1, "const_channels": 8}
    write_model(root / "style.safetensors", "stylegan2", task="synthesis", settings=small)
    write_model(root / "gray.safetensors", settings={"in_channels": 1})
    write_model(root / "many.safetensors", settings={"in_channels": 9})
    (root / "range.toml").write_text("[data.source]\nrange = [1]\n")
    (root / "cut.safetensors").write_bytes((root / "student.safetensors").read_bytes()[:400])
    (root / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    (root / "junk.pth").write_bytes(b"these are no weights at all")
    (root / "empty.pth").touch()
    (root / "hostile.pkl").write_bytes(pickle.dumps({"weight": Hostile()}))
    torch.save({"weight": Hostile()}, root / "hostile.pth")
    (root / "notes.txt").write_text("hello")
    (root / "broken.toml").write_text("a = [")
    (root / "odd.toml").write_text("[run]\nsped = 3\n")
    (root / "foreign.toml").write_text("[method.options]\nlambda_dvd = 3\n")
    (root / "knobs.toml").write_text("[method.options]\nlambda_dcd = 3\n")
    (root / "frozen.toml").write_text('[teacher]\nfreeze = true\nsource = "student.safetensors"\n')
    weights = root / "torch" / "hub" / "checkpoints"
    weights.mkdir(parents=True)
    (weights / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"damaged")
    return root


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    for name in ("GANCOMP_DATA", "GANCOMP_VGG16", "GANCOMP_VGG19"):
        monkeypatch.delenv(name, raising=False)

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)


def with_json(arguments: list[str]) -> list[str]:
    depth = 2 if arguments[:1] in (["data"], ["bench"]) else 1
    return [*arguments[:depth], "--json", *arguments[depth:]] if len(arguments) > 1 else arguments


def check_one_line(status: int, out: str, err: str) -> None:
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert "weights_only" not in err  # PyTorch's advice to open the file unsafely


def short(command: str) -> str:
    for usual in (TRAIN, FROM_FILE, SMALL):
        command = command.replace(f" {usual}", " …")
    return command or "nothing"


@pytest.mark.parametrize("number", range(len(CASES)), ids=[short(case[0]) for case in CASES])
def test_a_mistake_costs_one_line_and_status_2_and_changes_nothing(
    number: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, named, way_out = CASES[number]
    arguments = shlex.split(command)
    before = contents(folder)
    outcome = run_command(capsys, *(with_json(arguments) if number % 2 else arguments))
    check_one_line(outcome.status, outcome.out, outcome.err)
    assert named in outcome.err
    assert way_out in outcome.err
    assert contents(folder) == before


def test_the_table_covers_every_command_and_many_mistakes() -> None:
    first = [case[0].split()[0] for case in CASES if case[0]]
    assert {name: first.count(name) >= 2 for name in COMMANDS} == dict.fromkeys(COMMANDS, True)
    assert len({case[0] for case in CASES}) == len(CASES) == 410


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("distill --dataset nosuch", "nosuch"),
        ("profile hostile.pth --json", "hostile.pth"),
        ("frobnicate", "frobnicate"),
    ],
)
def test_the_shell_sees_the_same(command: str, named: str, folder: Path) -> None:
    before = contents(folder)
    done = subprocess.run(
        [sys.executable, "-m", "gancomp", *command.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    check_one_line(done.returncode, done.stdout, done.stderr)
    assert named in done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize(
    "command",
    [
        "export student.safetensors -o new.safetensors",
        "export student.safetensors -o photo.png --format safetensors",
        "translate student.safetensors photo.png -o data",
    ],
)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_disk_that_takes_nothing_costs_no_file(
    command: str,
    number: int,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    before = contents(folder)
    monkeypatch.setattr(files, "_new_file", refuse)
    outcome = run_command(capsys, *command.split())
    check_one_line(outcome.status, outcome.out, outcome.err)
    assert os.strerror(number) in outcome.err
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["pretrain", "distill"])
def test_a_run_on_a_disk_that_takes_nothing_does_not_begin(
    command: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    before = contents(folder)
    monkeypatch.setattr(Path, "mkdir", refuse)
    perceptual = " --perceptual none" if command == "distill" else ""
    line = f"{command} --dataset data {SMALL}{perceptual} --out new"
    outcome = run_command(capsys, *line.split())
    check_one_line(outcome.status, outcome.out, outcome.err)
    assert "--out new: cannot be written (Read-only file system)" in outcome.err
    assert contents(folder) == before


def test_weights_that_are_nowhere_are_asked_for_with_all_the_ways_to_give_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    outcome = run_command(capsys, *f"distill --dataset data {SMALL}".split())
    *announced, error = outcome.err.splitlines()
    assert len(announced) == 1
    assert announced[0].startswith("downloading VGG16 (528 MB")
    assert error.startswith("error: VGG16 could not be downloaded")
    assert all(way in error for way in ("GANCOMP_VGG16", "--vgg FILE", "--perceptual none|random"))
    assert outcome.status == 2
    assert contents(folder) == before


def test_a_hostile_pickle_would_have_run_had_it_been_opened_carelessly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # else the cases above would prove nothing
    monkeypatch.chdir(tmp_path)
    torch.load(folder / "hostile.pth", weights_only=False)
    assert (tmp_path / "executed").is_dir()


@pytest.mark.parametrize("json", [False, True])
def test_a_folder_with_problems_is_reported_and_then_refused(
    json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run_command(capsys, "data", "check", "onesided", *(["--json"] if json else []))
    assert outcome.status == 2
    assert outcome.err.startswith("error: onesided: number of problems: 1; the first: ")
    assert outcome.err.count("\n") == 1
    assert "no trainB/" in (outcome.document["problems"][0] if json else outcome.out)


@pytest.mark.parametrize("json", [False, True])
def test_when_no_file_could_be_translated_the_status_says_so(
    json: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    arguments = ["translate", "student.safetensors", "notes.txt", "-o", "new"]
    outcome = run_command(capsys, *arguments, *(["--json"] if json else []))
    assert outcome.status == 2
    skipped, error = outcome.err.splitlines()
    assert skipped.startswith("skipped: notes.txt")
    assert error.startswith("error: nothing was written to new")
    if json:
        assert outcome.document["written"] == []
        assert [item["file"] for item in outcome.document["failed"]] == ["notes.txt"]
    assert contents(folder) == before
