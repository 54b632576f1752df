"""Ports published PyTorch weights to avjax, and exports weights to PyTorch.

    python -m avjax.port avid checkpoint.pth.tar --out ported/avid     import weights
        --audio_stats stats.npz                                        and spectrogram statistics
    python -m avjax.port --check ported/avid                           verify a ported run
    python -m avjax.port --export runs/mine --out mine.safetensors     export weights

Nothing in the file is executed: the reader knows tensors and plain containers only and refuses
everything else by name.  OUT is an ordinary run with a certificate.json: start from it with
`config.init_from`, or extract features with `python -m avjax.embed --run OUT`.  Respect the license
that the certificate names.

AVID's audio net needs the mean and standard deviation of each frequency of its spectrogram, which
AVID ships in a separate file: pass it as --audio_stats, else only the video net can be used.
--export writes them too, as audio_spectrogram.mean and audio_spectrogram.std; the net's input is
(decibels - mean) / (std + 1e-5).
"""

import argparse
import os

from avjax.config import app, trust
from avjax.config.program import program_name
from avjax.runtime import preemption, workdir as workdirs
from avjax.weights import published


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags."""
    p = argparse.ArgumentParser(
        prog=program_name("avjax.port"),
        description=__doc__,
        epilog=published.table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("source", nargs="?", metavar="SOURCE", help="origin of the weights, see below")
    p.add_argument("file", nargs="?", metavar="FILE", help=".pth, .pth.tar, .pt or .safetensors")
    p.add_argument("--out", help="folder of the new run; with --export, a .safetensors file")
    p.add_argument("--sha256", default="", help="expected start of the file's SHA-256")
    p.add_argument("--audio_stats", help=".npz with `mean` and `std` of the spectrogram")
    p.add_argument("--export", metavar="RUN", help="export the latest weights of a run")
    p.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=trust.HELP)
    p.add_argument("--check", metavar="DIR", help="verify a ported run against its certificate")
    return p


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    app.run(parser(), preemption.report_interruption(run, "the same command starts it again"), argv)


def run(args: argparse.Namespace) -> dict | None:
    """Runs what the arguments say."""
    check_arguments(args)
    from avjax.weights import exporting, porting

    if args.check:
        return exporting.check(args.check, args.trust)
    if args.export:
        return exporting.export(args.export, args.out, args.trust)
    return porting.port(args.source, args.file, args.out, args.sha256, args.audio_stats)


def check_arguments(args: argparse.Namespace) -> None:
    """Raises an error for arguments that cannot work, before the imports that take a second."""
    if args.check:
        if not os.path.isfile(os.path.join(args.check, "certificate.json")):
            raise FileNotFoundError(
                f"--check {args.check}: no certificate.json in it: name a run that was ported"
            )
    elif not args.out:
        raise ValueError("--out is required")
    elif args.export:
        workdirs.check_is_run(args.export)
    elif not args.source or not args.file:
        raise ValueError("SOURCE and FILE are required: avid checkpoint.pth.tar --out DIR")
    else:
        published.check_source(args.source)
        if os.path.isdir(args.out) and os.listdir(args.out):
            raise ValueError(f"{args.out} is not empty: choose another --out")
        if not os.path.isfile(args.file):
            raise FileNotFoundError(f"FILE {args.file}: no such file")


if __name__ == "__main__":
    main()
