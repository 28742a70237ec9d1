"""People's own generators in every command: six of published kinds, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import Outcome, run_command
from safetensors import safe_open
from safetensors.torch import save_file

import gancomp
from gancomp.data.demo_set import write_demo_set
from gancomp.errors import ConfigError
from gancomp.own_code import answer_for, forget_code, naming

FILE = Path(__file__).parents[1] / "own_generators.py"
WIDTHS = {  # factory -> the argument that is its width
    "cut": "ngf",
    "pix2pixhd": "ngf",
    "ugatit": "ngf",
    "animegan": "base",
    "srvgg": "num_feat",
    "rrdb": "num_feat",
}
SIDE = 32
RUN = (
    f"--dataset data --size {SIDE} --d-layers 1 --d-width 4 --workers 0 --device cpu "
    "--perceptual none --batch-size 1 --log-every 1"
)
ODD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)

def conv(a=3, b=3):
    return nn.Conv2d(a, b, 3, padding=1)

def make(width=4):
    return Net(nn.Sequential(conv(3, width), nn.ReLU(), conv(width, width), conv(width, 3),
                             nn.Tanh()))

def fails(width=4):
    raise KeyError("no such block")

def needs(width, depth):
    return make(width)

def other():
    return {"not": "a module"}

def gray():
    return Net(nn.Sequential(conv(1, 4), nn.ReLU(), conv(4, 1), nn.Tanh()))

def five():
    return Net(nn.Sequential(conv(3, 5), nn.Tanh()))

def halves():
    return Net(nn.Sequential(nn.Conv2d(3, 3, 3, stride=2, padding=1), nn.Tanh()))

class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = Net(nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 3)))

    def forward(self, x):
        return 127.5 + 127.5 * torch.tanh(self.body(x))

class Beyond(Loud):
    def forward(self, x):
        return 2 * torch.sign(self.body(x))

class Broken(Loud):
    def forward(self, x):
        return self.body(x) / 0

class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = make()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.body(x) * self.head(x.mean((2, 3)))[:, :, None, None].tanh()

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(x.mean((2, 3)))

def empty():
    return nn.Identity()

net = make()
"""


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    forget_code()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the six generators, some odd ones and a dataset."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(FILE, "nets.py")
    Path("odd.py").write_text(ODD)
    write_demo_set(Path("data"), size=SIDE, train=3, test=2)
    return tmp_path


def header_of(file: Path) -> dict[str, object]:
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["gancomp"])


def names_in(file: Path) -> list[str]:
    with safe_open(file, "pt") as opened:
        return sorted(opened.keys())


def say(capsys: pytest.CaptureFixture[str], command: str) -> Outcome:
    return run_command(capsys, *command.split())


def distill(capsys: pytest.CaptureFixture[str], text: str, *, steps: int = 1) -> Outcome:
    return say(capsys, f"distill {RUN} --max-steps {steps} --out run {text} --json")


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.slow
def test_six_published_kinds_of_generator_go_through_every_command(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, argument = f"nets.py:{name}", WIDTHS[name]
    size = "--size 64" if name == "pix2pixhd" else ""  # it halves four times
    command = f"--arch {spec} --width-argument {argument} --width 8 --ratio 0.5 {size}"
    outcome = distill(capsys, command, steps=3)
    assert outcome.status == 0, outcome.err
    assert outcome.document["step"] == 3
    assert outcome.document["losses"]["student/dcd"] > 0
    assert outcome.err.count(f"taps of {spec}") == 2

    rows = run_command(capsys, "profile", "run", "--arch", spec, "--json").document
    assert [row["width"] for row in rows["models"]] == [8, 4]
    assert rows["ratio"]["macs"] > 2
    assert run_command(capsys, "export", "run", "-o", "s.safetensors", "--arch", spec).status == 0
    header = header_of(here / "s.safetensors")
    assert (header["arch"], header["settings"]["width_argument"]) == (spec, argument)  # type: ignore[index]
    outcome = say(capsys, f"translate s.safetensors data/testA -o out --device cpu --arch {spec}")
    assert outcome.status == 0, outcome.err
    assert len(list(Path("out").iterdir())) == 2


def test_a_file_names_the_module_s_own_parameters_and_what_it_needs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(capsys, "--arch odd.py:make --width-argument width --ratio 0.5").status == 0
    own = ["body.0.bias", "body.0.weight", "body.2.bias", "body.2.weight"]
    assert names_in(Path("run/student.safetensors"))[:4] == own
    for command in (
        "translate run/student.safetensors data/testA -o out",
        "export run -o s.safetensors",
        "profile run",
        "eval-fid run",
    ):
        forget_code()  # as a process of its own has it
        outcome = say(capsys, command)
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert "--arch odd.py:make" in outcome.err


def test_the_code_may_have_moved_since_the_file_was_written(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert distill(capsys, "--arch odd.py:make --width-argument width --ratio 0.5").status == 0
    forget_code()
    Path("lib").mkdir()
    Path("odd.py").rename("lib/renamed.py")
    command = "translate run data/testA --device cpu --arch lib/renamed.py"
    outcome = say(capsys, f"{command}:make -o out")
    assert outcome.status == 0, outcome.err
    outcome = distill(capsys, "--resume --arch lib/renamed.py:make", steps=2)
    assert outcome.status == 0, outcome.err
    assert outcome.document["step"] == 2
    outcome = say(capsys, f"{command}:five -o out2")
    assert outcome.status == 2
    assert "lib/renamed.py:five has no such parameter" in outcome.err


def test_a_run_goes_on_bit_for_bit_and_only_if_its_code_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "--arch nets.py:cut --width-argument ngf --ratio 0.5 --checkpoint-every 1"
    assert distill(capsys, text, steps=2).status == 0
    Path("run").rename("whole")
    assert distill(capsys, text, steps=1).status == 0
    forget_code()
    outcome = distill(capsys, "--resume", steps=2)
    assert outcome.status == 2
    assert "--arch nets.py:cut" in outcome.err
    outcome = distill(capsys, "--resume --arch nets.py:cut", steps=2)
    assert outcome.status == 0, outcome.err
    for name in ("student", "teacher"):
        file = f"{name}.safetensors"
        assert Path("run", file).read_bytes() == Path("whole", file).read_bytes()


def test_weights_are_the_code_s_own_by_the_run_s_seed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "--arch odd.py:make --width-argument width --ratio 0.5"
    files = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(files))
        assert distill(capsys, f"{text} --seed {seed}").status == 0
        files.append(Path("run/student.safetensors").read_bytes())
        shutil.rmtree("run")
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("form", ["pth", "safetensors", "wrapped"])
def test_a_teacher_comes_from_a_bare_state_dict(
    form: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import own_generators

    module = own_generators.cut(6)
    state = module.state_dict()
    if form == "safetensors":
        save_file(state, "t.safetensors")
    elif form == "wrapped":
        torch.save({"step": 3, "params_ema": {f"module.{k}": v for k, v in state.items()}}, "t.pth")
    else:
        torch.save(state, "t.pth")
    file = "t.safetensors" if form == "safetensors" else "t.pth"
    text = f"--teacher {file} --freeze-teacher --arch nets.py:cut --width-argument ngf --width 6"
    outcome = distill(capsys, f"{text} --student-width 3")
    assert outcome.status == 0, outcome.err
    with safe_open("run/teacher.safetensors", "pt") as opened:
        assert all(torch.equal(opened.get_tensor(name), state[name]) for name in state)
    row = run_command(
        capsys, *f"profile {file} --arch nets.py:cut --width-argument ngf --width 6 --json".split()
    ).document["models"][0]
    assert row["params"] == sum(item.numel() for item in module.parameters())
    outcome = distill(capsys, f"--teacher {file} --arch nets.py:cut --student-width 3")
    assert outcome.status == 2
    assert "[8, 3, 7, 7]" in outcome.err


@pytest.mark.slow
def test_teacher_and_student_may_be_of_different_code_with_maps_of_equal_sizes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in (
        "--arch nets.py:cut --student-arch nets.py:ugatit",
        "--arch nets.py:animegan --student-arch mobile-resnet6 --student-width 4 --size 64",
        "--arch mobile-resnet6 --width 4 --student-arch nets.py:cut --taps model.12,model.13",
    ):
        outcome = distill(capsys, text)
        shutil.rmtree("run", ignore_errors=True)
        if "--taps" in text:
            assert outcome.status == 2
            assert "mobile-resnet6 is none of your own" in outcome.err
        elif "animegan" in text:  # its maps have odd sizes
            assert outcome.status == 2
            assert "--taps" in outcome.err
        else:
            assert outcome.status == 0, outcome.err
    outcome = distill(capsys, "--arch mobile-resnet6 --width 4 --student-arch nets.py:cut")
    assert outcome.status == 0, outcome.err
    settings = json.loads(Path("run/config.json").read_text())["settings"]
    assert len(settings["student"]["taps"]) == 4
    assert "taps" not in settings["teacher"]["network"]


def test_given_taps_are_recorded_and_distilled(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "--arch nets.py:cut --width-argument ngf --ratio 0.5"
    outcome = distill(capsys, f"{text} --taps model.12,model.14")
    assert outcome.status == 0, outcome.err
    assert header_of(Path("run/student.safetensors"))["settings"]["taps"] == [  # type: ignore[index]
        "model.12",
        "model.14",
    ]


@pytest.mark.slow
def test_pretraining_and_paired_data(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"pretrain {RUN} --max-steps 2 --out run --arch nets.py:srvgg".replace(
        "--perceptual none ", ""
    )
    outcome = say(capsys, command)
    assert outcome.status == 0, outcome.err
    outcome = run_command(
        capsys,
        *f"distill {RUN} --max-steps 1 --teacher run --arch nets.py:srvgg --out run2 "
        "--student-arch nets.py:animegan --lambda-dcd 0".split(),
    )
    assert outcome.status == 0, outcome.err
    Path("pairs").mkdir()
    for folder in ("trainA", "trainB"):
        shutil.copytree("data/trainA", f"pairs/{folder}")
    outcome = distill(
        capsys,
        "--dataset pairs --task paired --out run3 --arch nets.py:rrdb --width-argument num_feat "
        "--ratio 0.5",
    )
    assert outcome.status == 0, outcome.err


MAKE = "--arch odd.py:make --width-argument width"
MISTAKES = (
    ("--arch nosuch.py:make", "nosuch.py:make: no such file"),
    ("--arch no.such.package:make", "no module no.such.package"),
    ("--arch odd.py:mak", "has no mak; did you mean make?"),
    ("--arch odd.py", "name what makes the generator, too: odd.py:FACTORY"),
    ("--arch odd.py:", "should be FILE.py:FACTORY"),
    ("--arch odd.py:net", "net is a Net, not a function or class"),
    ("--arch odd.py:fails", "its factory fails when called with (): KeyError: 'no such block'"),
    ("--arch odd.py:needs", "missing 2 required positional arguments"),
    ("--arch odd.py:other", "gives a dict, not a torch.nn.Module"),
    ("--arch odd.py:empty", "its module has no weights"),
    ("--arch odd.py:gray", "its first convolution takes 1 channels, not 3"),
    ("--arch odd.py:five", "gives 5 channels, the target images have 3"),
    ("--arch odd.py:halves", "makes 32x33 pixels of 64x65; a generator for translation keeps"),
    ("--arch odd.py:Flat", "gives a tensor of shape [1, 3] instead of an image"),
    ("--arch odd.py:Loud --student-arch odd.py:make", "-1 to 1 here: wrap it"),
    ("--arch odd.py:Broken --student-arch odd.py:make", "not finite"),
    ("--arch odd.py:make", "--ratio: odd.py:make has no width to narrow"),
    ("--arch odd.py:make --width 8", "--width 8: which parameter of odd.py:make is its width?"),
    ("--arch odd.py:make --width-argument ngf", "no such parameter; it has width"),
    ("--arch odd.py:needs --width-argument width", "has no default in odd.py:needs"),
    (f"{MAKE} --taps body.1,body.9", "--taps body.9: odd.py:make has no such module"),
    (
        "--arch odd.py:Pooled --student-arch odd.py:make --taps head",
        "gives a tensor of shape [1, 3",
    ),
    (f"{MAKE} --taps body.0,body.0", "names a map twice"),
    (f"{MAKE} --student-taps nosuch", "--student-taps nosuch: odd.py:make has no such module"),
    (f"{MAKE} --norm batch", "--norm batch: odd.py:make is code of your own"),
    (f"{MAKE} --dropout 0.5", "--dropout 0.5: odd.py:make is code of your own"),
    ("--arch mobile-resnet6 --width-argument ngf", "--width-argument ngf: is for a generator of"),
    ("--taps model.9", "--taps model.9: is for a generator of your own"),
    (
        f"{MAKE} --dataset data/trainA --task super-resolution",
        "translate images, which super-resolution is not",
    ),
    ("--student-arch odd.py:make --ratio 0.5", "--ratio 0.5: which parameter of odd.py:make"),
)


@pytest.mark.parametrize(("typed", "said"), MISTAKES, ids=[item[0] for item in MISTAKES])
def test_mistakes_are_one_line_and_leave_nothing(
    typed: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = distill(capsys, typed)
    assert outcome.status == 2
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in outcome.err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("profile --arch odd.py:make --width 8", "--width 8: which parameter"),
        ("profile --arch odd.py:nosuch", "has no nosuch"),
        ("profile ours.safetensors --arch odd.py:make", "is no code of your own"),
        ("translate ours.safetensors data/testA -o out --arch odd.py:make", "is no code of your"),
        ("translate bare.pth data/testA -o out --arch odd.py:five", "do not fit odd.py:five"),
        (
            "translate bare.pth data/testA -o out --arch mobile-resnet6",
            "name only code of your own",
        ),
        ("translate bare.pth data/testA -o out", "no layout that gancomp knows"),
        ("translate loud.pth data/testA -o out --arch odd.py:Loud", "makes values from"),
        ("translate bare.pth data/testA -o out --train-mode --arch odd.py:make", "--train-mode"),
        ("translate bare.pth data/testA -o out --part x --arch odd.py:make", "has no part 'x'"),
    ],
)
def test_mistakes_of_other_commands(
    command: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from commands import write_model

    write_model(Path("ours.safetensors"))
    scope: dict[str, object] = {}
    exec(ODD, scope)  # noqa: S102  # the text above
    torch.save(scope["make"]().state_dict(), "bare.pth")  # type: ignore[operator]
    torch.save(scope["Loud"]().state_dict(), "loud.pth")  # type: ignore[operator]
    outcome = say(capsys, command)
    assert outcome.status == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert not Path("out").exists()


def test_values_beyond_the_range_are_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = distill(capsys, "--arch odd.py:Beyond --student-arch odd.py:make")
    assert outcome.status == 0, outcome.err
    assert "makes values from -2 to 2 of a trial image" in outcome.err


def test_python_takes_code_by_name_or_as_a_function(here: Path) -> None:
    import own_generators

    chosen = {"width_argument": "ngf", "student_width": 3, "width": 6}
    settings = dict(zip(*[iter(RUN.replace("--", "").replace("-", "_").split())] * 2, strict=True))
    numbers = {name: int(value) if value.isdigit() else value for name, value in settings.items()}
    run = gancomp.distill(**chosen, **numbers, arch=own_generators.cut, max_steps=1, out="run")
    assert run.generators["student"].network.arch == "own_generators:cut"
    forget_code()
    with pytest.raises(gancomp.GancompError, match="name it with `arch` own_generators:cut"):
        gancomp.load("run/student.safetensors")
    generator = gancomp.load(run, arch="nets.py:cut")  # its code may lie elsewhere by now
    assert generator.profile()["arch"] == "nets.py:cut"
    assert generator.translate(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
    made = gancomp.export(run, "s.safetensors", arch=own_generators.cut)
    assert made["parity"] == 0
    (row,) = gancomp.profile(arch=own_generators.cut, width=3, width_argument="ngf")["models"]
    assert row["params"] == generator.profile()["params"]
    with pytest.raises(gancomp.GancompError, match="`width_argument` base") as caught:
        gancomp.profile(arch=own_generators.cut, width=3, width_argument="base")
    assert caught.value.field == "width_argument"
    with pytest.raises(gancomp.GancompError) as caught:
        gancomp.load("s.safetensors", arch=7)  # type: ignore[arg-type]
    assert caught.value.field == "arch"


def test_help_shows_these_options_when_code_is_named_and_needs_no_torch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = say(capsys, "distill --help").out
    shown = say(capsys, "distill --arch nosuch.py:make --help").out
    for flag in ("--taps", "--student-taps", "--width-argument"):
        assert flag not in plain
        assert flag in shown


def test_one_code_does_not_stand_for_two_that_files_record() -> None:
    with naming("c.py:make", to_open=True):
        assert answer_for("a.py:make", Path("run/teacher.safetensors")) == "c.py:make"
        assert answer_for("a.py:make", Path("run/student.safetensors")) == "c.py:make"
        with pytest.raises(ConfigError, match=r"both a\.py:make and b\.py:make.* one model file"):
            answer_for("b.py:make", Path("run/student.safetensors"))


@pytest.mark.parametrize("method", ["mgd", "gcc"])
def test_other_translation_methods_distil_them_too(
    method: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = "--arch nets.py:cut --width-argument ngf --width 8 --ratio 0.5"
    run = RUN.replace("--perceptual none ", "") if method == "gcc" else RUN
    outcome = say(capsys, f"distill {run} --method {method} --max-steps 1 --out run {own}")
    assert outcome.status == 0, outcome.err
    assert header_of(Path("run/student.safetensors"))["arch"] == "nets.py:cut"
