"""The command line: exit codes, one clear line per error, and no import that is not needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Run
from lossmith.derivations import catalogue

from lossmith import cli

TIER_0 = {
    "abs_kl_divergence", "binary_cross_entropy", "categorical_cross_entropy", "entropy", "information",
    "kl_divergence", "mean_squared_error", "partition_distribution", "sigmoid_cross_entropy",
    "softmax_cross_entropy", "sparse_softmax_cross_entropy",
}


def test_list_names_every_loss_of_tier_0(command: Run) -> None:
    said = command("list")
    assert said.returncode == 0
    assert {line.split()[0] for line in said.stdout.splitlines()} >= TIER_0
    units = json.loads(command("list", "--json").stdout)["units"]
    assert [u["name"] for u in units] == list(catalogue.unit_names())
    assert all(u["title"] and u["shape"] in ("elementwise", "row") and u["arguments"] for u in units)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["explain"], ["derive", "--help"], ["doctor", "--help"]])
def test_light_commands_load_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    if arguments == ["list"] and not (ROOT / catalogue.MANIFEST).exists():
        pytest.skip("nothing has been generated yet")
    script = (
        "import sys\nfrom lossmith.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "print([m for m in ('sympy', 'numpy', 'torch', 'flint', 'jinja2') if m in sys.modules], file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert said.stderr.strip() == "[]"


USAGE = [
    (["lst"], "did you mean 'list'?"),
    (["derive"], "LOSS"),
    (["derive", "sigmoid_cross_entrpy"], "did you mean 'sigmoid_cross_entropy'?"),
    (["derive", "sigmoid_cross_entropy", "--of", "gradient", "--wrt", "q"], "no gradient by 'q': there are x, z"),
    (["derive", "sigmoid_cross_entropy", "--wrt", "x"], "of='gradient'"),
    (["derive", "sigmoid_cross_entropy", "--of", "value"], "invalid choice: 'value'"),
    (["generate", "nothing"], "there is no loss 'nothing'"),
    (["generate", "nothing.py"], "there is no file nothing.py"),
    (["generate", "nothing.toml"], "nothing.toml"),
    (["generate", "--target", "rust"], "invalid choice: 'rust'"),
    (["generate", "--jobs", "0"], "'0' is not a number of processes"),
    (["stabilize", "log(1+exp(x)", "--domain", "x=real"], "(E102)"),
    (["stabilize", "log(1+exp(x))", "--domain", "x"], "NAME=DOMAIN"),
    (["stabilize", "log(1+exp(x))", "--domain", "x=real", "--domain", "x=[0,1]"], "two domains"),
    (["stabilize", "log(1+exp(x))", "--domain", "x=reel"], "the domain of 'x'"),
    (["stabilize", "log(1+exp(x))"], '--domain "x=real"'),
    (["stabilize", "x", "--domain", "x=real", "--wrt", "y"], "there are x"),
    (["stabilize", "x", "--domain", "x=real", "--wrt", "x,x,x"], "by one argument, or by two"),
    (["stabilize", "log(x - y)", "--domain", "x=real", "--domain", "y=real", "--where", "x > w"], "(E105)"),
    (["stabilize", "log(x - y)", "--domain", "x=real", "--domain", "y=real", "--where", "x == y"], "(E114)"),
    (["stabilize", "log(x)", "--domain", "x=real", "--dtype", "float8"], "invalid choice: 'float8'"),
    (["audit", "sigmoidal"], "there is no loss 'sigmoidal'"),
    (["audit", "sigmoid_cross_entropy", "--fail-over", "much"], "such as 4ulp"),
    (["explain", "E999"], "there is no error code"),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE, ids=[" ".join(u[0]) for u in USAGE])
def test_a_request_that_cannot_be_met_is_one_clear_line(arguments: list[str], said: str,
                                                        capsys: pytest.CaptureFixture[str],
                                                        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOSSMITH_TRACEBACK", raising=False)
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    out, error = capsys.readouterr()
    assert status == 2 and out == ""
    assert said in error and "Traceback" not in error
    first, *rest = error.splitlines()
    assert first.startswith("lossmith") and all(line.startswith("    ") for line in rest)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_directory_is_one_line(tmp_path: Path, command: Run) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    said = command("generate", "mean_squared_error", "--target", "np", "-o", "file/inside")
    assert said.returncode == 2 and len(said.stderr.splitlines()) == 1
    assert "file/inside" in said.stderr and "not a directory" in said.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-m", "lossmith", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          cwd=tmp_path) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_without_a_terminal_stderr_says_nothing(command: Run) -> None:
    assert command("list").stderr == ""


def test_the_output_does_not_depend_on_hash_seed_or_locale(command: Run) -> None:
    one = command("derive", "mean_squared_error", "--format", "json", PYTHONHASHSEED="1", LC_ALL="C")
    two = command("derive", "mean_squared_error", "--format", "json", PYTHONHASHSEED="2", LC_ALL="C.UTF-8")
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout


def test_doctor_says_what_is_here(command: Run) -> None:
    said = command("doctor", "--json")
    assert said.returncode == 0
    checks = {c["name"]: c for c in json.loads(said.stdout)["checks"]}
    assert checks["sympy"]["well"] and checks["Python"]["well"]
    assert all(c["well"] or not c["required"] for c in checks.values())


def test_a_derivation_is_written_to_a_file(command: Run, tmp_path: Path) -> None:
    said = command("derive", "mean_squared_error", "--of", "gradient", "--format", "markdown", "-o", "mse.md")
    assert said.returncode == 0 and said.stdout == "", said.stderr
    assert "## Gradient by x" in (tmp_path / "mse.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("form", ["text", "latex", "markdown", "html", "json"])
def test_every_format_prints(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["derive", "mean_squared_error", "--format", form]) == 0
    assert capsys.readouterr().out.strip()


def test_the_package_audit_is_also_the_function(tmp_path: Path) -> None:
    script = (
        "import lossmith as lm, lossmith.audit\n"
        "for _ in range(2):\n"
        "    try: lm.audit('nothing')\n"
        "    except KeyError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert said.stdout.count("there is no loss 'nothing'") == 2, said.stderr


def test_stabilize_finds_a_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stabilize", "log(1 + exp(x))", "--domain", "x=real", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["form"]["verdict"] == "stable" and found["form"]["error"]["ulp"] < 4


LOSS = '''"""A loss of the user's own."""
from lossmith.derivations import Loss, REAL, logit, target

x = logit("x")
y = target("y", REAL)
LOSS = Loss(name="absolute_square", title="A square", formula=(x - y)**2)
'''


def test_a_users_own_loss_is_generated(command: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOSS, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        'name = "toml_square"\nformula = "(x - y)**2"\n[domain]\nx = "real"\ny = "real"\n', encoding="utf-8")
    said = command("generate", "mine.py", "mine.toml", "--target", "np", "-o", "out")
    assert said.returncode == 0, said.stderr
    for name in ("absolute_square", "toml_square"):
        text = (tmp_path / f"out/np/{name}.py").read_text(encoding="utf-8")
        assert "edit mine." in text.splitlines()[0] and str(tmp_path) not in text
    again = command("generate", "mine.py", "mine.toml", "--target", "np", "-o", "out", "--check")
    assert again.returncode == 0, again.stdout + again.stderr


@pytest.mark.parametrize(("text", "said"), [
    ("x = 1\n", "defines no loss"),
    ("x = \n", "line 1"),
    ("raise ValueError('no')\n", "line 1: ValueError: no"),
    ("from lossmith.derivations import nothing\n", "line 1"),
])
def test_a_bad_loss_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(catalogue.LossFileError, match=said) as caught:
        catalogue.load_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [
    ("name = 1", "needs the key 'name'"),
    ('name = "a"\nformul = "x"', "did you mean 'formula'"),
    ('name = "A b"\nformula = "x"\n[domain]\nx = "real"', "lower case"),
    ('name = "a"\nformula = "__import__(x)"\n[domain]\nx = "real"', "E104"),
    ('name = "a"\nformula = "x"\n[domain]\nx = "rael"', "domain of 'x'"),
    ("name = ", "mine.toml"),
])
def test_a_bad_toml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(catalogue.LossFileError, match=said):
        catalogue.load_file(path)


def test_check_says_what_happened_to_which_file(command: Run, tmp_path: Path) -> None:
    options = ("generate", "mine.toml", "--target", "np", "-o", "out")
    loss = tmp_path / "mine.toml"
    text = 'name = "mine"\nformula = "(x - y)**2"\n[domain]\nx = "real"\ny = "real"\n'
    loss.write_text(text, encoding="utf-8")
    assert command(*options, "--check").stdout.count("missing") == 3
    assert not (tmp_path / "out").exists()
    assert command(*options).returncode == 0
    kernel = tmp_path / "out/np/mine.py"
    kernel.write_text(kernel.read_text(encoding="utf-8") + "edited = True\n", encoding="utf-8")
    said = command(*options, "--check")
    assert said.returncode == 1
    assert "edited by hand" in said.stdout and "lossmith generate mine.toml" in said.stdout
    assert command(*options).returncode == 0
    loss.write_text(text.replace("**2", "**4"), encoding="utf-8")
    said = command(*options, "--check", "--json")
    assert said.returncode == 1
    assert {s["why"] for s in json.loads(said.stdout)["stale"]} == {"formula changed"}


def test_an_unforeseen_error_is_one_line_too(monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(catalogue, "described", broken)
    monkeypatch.setitem(os.environ, "LOSSMITH_TRACEBACK", "")
    assert cli.main(["list"]) == 2
    assert capsys.readouterr().err == "lossmith: RuntimeError: first second (LOSSMITH_TRACEBACK=1 shows where)\n"


def test_audit_takes_a_function_and_a_truth(command: Run) -> None:
    done = command("audit", "numpy:exp", "--truth", "exp(x)", "--domain", "x=[-80,80]", "--dtype", "float64", "--json")
    said = json.loads(done.stdout)
    assert done.returncode == 0 and said["holds"] and said["reports"][0]["max_ulp"] < 1
    assert "gradient_x" in said["not_run"][0]


def test_audit_compares_two_forms(command: Run) -> None:
    def compared(after: str, *more: str) -> subprocess.CompletedProcess[str]:
        return command("audit", "--before", "log(1 + exp(x))", "--after", after, "--domain", "x=real", *more)

    sound = compared("where(x > 0, x + log1p(exp(-x)), log1p(exp(x)))")
    assert sound.returncode == 0 and "sound, and more accurate" in sound.stdout
    wrong = compared("max(x, 0)", "--json")
    assert wrong.returncode == 1 and json.loads(wrong.stdout)["verdict"] == "wrong"


def test_audit_writes_a_report(command: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = command("audit", "numpy:tanh", "--truth", "tanh(x)", "--domain", "x=[-20,20]", "--report", str(page))
    text = page.read_text(encoding="utf-8")
    assert done.returncode in (0, 1) and len(text) < 1_000_000
    assert "://" not in text.replace("http://www.w3.org", "") and "lossmith audit numpy:tanh" in text


@pytest.mark.parametrize(("arguments", "said"), [
    (["audit"], "name what to audit"),
    (["audit", "numpy:exp"], "--truth"),
    (["audit", "sigmoid_cross_entropy", "--truth", "softplus"], "not one"),
    (["audit", "--before", "x", "--domain", "x=real"], "both --before and --after"),
    (["audit", "--before", "x", "--after", "x"], "--domain"),
    (["audit", "no_such_module:f", "--truth", "softplus"], "not installed"),
])
def test_audit_says_what_is_missing(command: Run, arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.splitlines()) == 1
