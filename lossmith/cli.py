"""The command line. Exit 0: well; 1: a finding, or something stale; 2: a request that cannot be met.

Nothing heavy is imported before a command needs it: `lossmith --help` and `lossmith list` load
neither SymPy nor NumPy nor torch.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from lossmith import __version__
from lossmith.errors import EXIT_USAGE, EXIT_WELL, did_you_mean, message, wants_traceback

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["_Parser"]

FORMATS = ("text", "latex", "markdown", "html", "json")
COMMANDS = ("list", "derive", "generate", "stabilize", "audit", "build", "bench", "doctor", "cache", "explain")


_OPTION = re.compile(r"-h|--|--[a-z][a-z-]+(=.*)?", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    """argparse, with errors on one line that end in what to type."""

    def error(self, message: str) -> NoReturn:
        if "invalid choice" in message and "COMMAND" in message:
            name = message.split("invalid choice: ", 1)[1].split(" (choose")[0].strip("'\"")
            message = f"there is no command '{name}': {did_you_mean(name, COMMANDS)}"
        end = " " if message.endswith("?") else "; "
        self.exit(EXIT_USAGE, f"{self.prog}: {message}{end}`{self.prog} --help` shows how\n")


def build_parser() -> argparse.ArgumentParser:
    """The grammar of the command line."""
    top = _Parser(prog="lossmith", description="From the formula of a loss to its stable forms, their derivation, "
                                               "and kernels for NumPy, PyTorch and CUDA C.")
    top.add_argument("--version", action="version", version=f"lossmith {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_list(commands)
    _add_derive(commands)
    _add_generate(commands)
    _add_stabilize(commands)
    _add_audit(commands)
    _add_build(commands)
    _add_bench(commands)
    doctor = commands.add_parser("doctor", help="what this machine can build and run")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    cache = commands.add_parser("cache", help="what is kept between runs: where, how large")
    cache.add_argument("--clear", action="store_true", help="remove it; nothing is lost but time")
    cache.add_argument("--json", action="store_true", help="print JSON")
    explain = commands.add_parser("explain", help="what a code means: of an error, or of a way in which losses fail")
    explain.add_argument("code", metavar="CODE", nargs="?", help="such as E104 or L201; all of them when left out")
    return top


def _add_list(commands: Commands) -> None:
    add = commands.add_parser("list", help="the catalogue: names, shapes, options, what is generated")
    add.add_argument("--json", action="store_true", help="print JSON")


def _add_derive(commands: Commands) -> None:
    add = commands.add_parser("derive", help="print the derivation of a loss, its gradient or its Hessian")
    add.add_argument("loss", metavar="LOSS", help="a name that `lossmith list` prints")
    add.add_argument("--of", choices=("loss", "gradient", "hessian"), default="loss", help="what to derive")
    add.add_argument("--wrt", metavar="ARGUMENT",
                     help="by which argument (default: the first input); for a Hessian also two: x,z")
    add.add_argument("--format", choices=FORMATS, default="text", help="how to print it")
    add.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead")


def _add_generate(commands: Commands) -> None:
    add = commands.add_parser("generate", help="write kernels, or check that they are up to date")
    add.add_argument("names", metavar="LOSS|FILE", nargs="*", help="losses, or files that define one; default: all")
    add.add_argument("--target", action="append", choices=("np", "pt", "c", "cu"), help="may be repeated; default: all")
    add.add_argument("-o", "--output", metavar="DIR", default="generated", help="where to write (default: generated)")
    add.add_argument("--check", action="store_true", help="write nothing; say which files are stale, why, what to type")
    add.add_argument("--jobs", type=_positive, metavar="N", help="processes (default: one per core)")
    add.add_argument("--json", action="store_true", help="print JSON")


def _add_stabilize(commands: Commands) -> None:
    add = commands.add_parser("stabilize", help="find and explain a stable form of any formula")
    add.add_argument("formula", metavar="EXPR", help="as in NumPy: log(1 + exp(x)) - x*z, logsumexp(x) - x[y]")
    add.add_argument("--domain", action="append", default=[], metavar="NAME=DOMAIN",
                     help='per argument: "x=real", "z=[0,1]", "0 < p < 1"; "x[k]=real" is a row')
    add.add_argument("--where", action="append", default=[], metavar="RELATION",
                     help='what holds between arguments: "x > y"; may be repeated')
    add.add_argument("--wrt", metavar="NAME",
                     help="find a stable form of the derivative by this argument instead; x,y for a second derivative")
    add.add_argument("--dtype", action="append", choices=("float16", "bfloat16", "float32", "float64"),
                     help="judge the form in this format; may be repeated; default: float32 and float64")
    add.add_argument("--format", choices=FORMATS, default="text", help="how to print it")
    add.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")


def _add_audit(commands: Commands) -> None:
    add = commands.add_parser("audit", help="measure a loss, or anyone's function, against exact arithmetic")
    add.add_argument("loss", metavar="LOSS|MODULE:FUNCTION", nargs="?",
                     help="a name that `lossmith list` prints; or a function, such as torch.nn.functional:softplus")
    add.add_argument("--truth", metavar="LOSS|EXPR",
                     help="what the function should compute: a loss, softplus and the like, or a formula over --domain")
    add.add_argument("--before", metavar="EXPR", help="a form of a formula, to be compared with --after")
    add.add_argument("--after", metavar="EXPR", help="the form that is to replace it")
    add.add_argument("--domain", action="append", default=[], metavar="NAME=DOMAIN", help='"x=real", "z=[0,1]"')
    add.add_argument("--where", action="append", default=[], metavar="RELATION", help='between arguments: "x > y"')
    add.add_argument("--arguments", metavar="NAMES", help="the order in which the function takes the truth's: z,x")
    add.add_argument("--target", choices=("np", "pt", "c", "cu"), default="np", help="whose kernels (default: np)")
    add.add_argument("--dtype", action="append", choices=("float16", "bfloat16", "float32", "float64"),
                     help="may be repeated; default: float32")
    add.add_argument("--tier", action="append", choices=("fast", "accurate"), help="may be repeated; default: fast")
    add.add_argument("--exhaustive", action="store_true",
                     help="every number of a 16-bit format; of float32 for a function of one variable")
    add.add_argument("--output", action="append", metavar="NAME",
                     help="with --exhaustive in float32: which outputs, loss (default), gradient_x, hessian_x")
    add.add_argument("--state", metavar="FILE", help="with --exhaustive in float32: a file to continue from; "
                     "of several sweeps each has one beside it, which has the sweep's name")
    add.add_argument("--jobs", type=_positive, metavar="N", help="with --exhaustive in float32: processes")
    add.add_argument("--every", type=_positive, metavar="N", default=1,
                     help="with --exhaustive in float32: only every N-th block of numbers, for a first look")
    add.add_argument("--report", metavar="FILE", help="write an HTML page with everything that was found")
    add.add_argument("--fix", action="store_true", help="print a stable form of what fails; takes seconds for each")
    add.add_argument("--fail-over", metavar="ULP", type=_ulp,
                     help="exit 1 where the worst error is larger: 4ulp (default: the contract)")
    add.add_argument("--json", action="store_true", help="print JSON")


def _add_build(commands: Commands) -> None:
    add = commands.add_parser("build", help="compile the C that the NumPy and PyTorch functions use, ahead of its use")
    add.add_argument("names", metavar="LOSS", nargs="*", help="of `lossmith list`; default: all")
    add.add_argument("--dtype", action="append", choices=("float16", "bfloat16", "float32", "float64"),
                     help="may be repeated; default: float32 and float64")
    add.add_argument("--tier", action="append", choices=("fast", "accurate"), help="may be repeated; default: fast")
    add.add_argument("--portable", action="store_true",
                     help="for every processor of this kind, beside the generated C, for `pip wheel` to carry")
    add.add_argument("--json", action="store_true", help="print JSON")


def _add_bench(commands: Commands) -> None:
    add = commands.add_parser("bench", help="how fast the kernels are, against what people use, accuracy beside it")
    add.add_argument("losses", metavar="LOSS", nargs="*",
                     help="of `lossmith list`, or focal, huber, log_cosh, poisson; default: the usual ones")
    add.add_argument("--size", action="append", metavar="N|ROWSxCLASSES", help="1e6, or 4096x1000; may be repeated")
    add.add_argument("--full", action="store_true", help="sizes from a hundred to where memory is all that counts")
    add.add_argument("--growth", action="store_true",
                     help="sizes from 1e2 to 1e8, rows of 2 to 262144 classes; the picture is of time against size")
    add.add_argument("--contender", action="append", metavar="NAME",
                     help="np, pt, c, torch, torch.compile, jax, 'numpy by hand', ..; may be repeated; default: all")
    add.add_argument("--forward", action="store_true", help="the loss alone, without its gradient")
    add.add_argument("--mean", action="store_true", help="the mean loss as one number and its gradient, as in training")
    add.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: float32")
    add.add_argument("--tier", choices=("fast", "accurate"), default="fast", help="of lossmith's own; default: fast")
    add.add_argument("--threads", type=_positive, metavar="N", default=1, help="default: 1")
    add.add_argument("--seconds", type=float, metavar="S", default=2.0, help="for each table (default: 2)")
    add.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                     help="cpu counts this process alone, where others run beside it")
    add.add_argument("--json", action="store_true", help="print JSON")
    add.add_argument("--plot", metavar="FILE",
                     help="write a picture of time against accuracy, with --growth against size: SVG")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of processes")
    return int(text)


def _ulp(text: str) -> float:
    try:
        return float(text.removesuffix("ulp"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not an error in ulp, such as 4ulp") from None


def _with_minus(arguments: Sequence[str]) -> list[str]:
    """The arguments, a formula that begins with a minus kept from being read as an option: `-p*log(p)`."""
    if not arguments or arguments[0] not in ("stabilize", "audit"):
        return list(arguments)
    return [f" {a}" if a.startswith("-") and not _OPTION.fullmatch(a) else a for a in arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Errors go to stderr, one line each, never a traceback."""
    top = build_parser()
    options = top.parse_args(_with_minus(sys.argv[1:] if arguments is None else arguments))
    if options.command is None:
        top.print_help()
        return EXIT_WELL
    try:
        from lossmith import commands
        from lossmith.derivations.depth import deep

        with deep():
            status = getattr(commands, f"run_{options.command}")(options)
        sys.stdout.flush()
        return int(status)
    except BrokenPipeError:  # the reader of our output has had enough: `lossmith list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_WELL
    except KeyboardInterrupt:
        print("lossmith: interrupted; no file is half-written", file=sys.stderr)
        return 130
    except Exception as error:
        if wants_traceback():
            raise
        print(f"lossmith: {message(error)}", file=sys.stderr)
        return EXIT_USAGE
