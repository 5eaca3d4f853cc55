"""`ccvd report`: one HTML file about the registry, to look at and to pass on. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from ..errors import UsageError
from ..output import emit, emit_json
from ..outputs import check_file
from ..session import Session
from .asking import folders_of
from .options import JsonOption
from .wiring import command


@dataclass(frozen=True)
class ReportOptions:
    """What is shown, and where."""

    out: Annotated[Path, Option("--out", "-o", metavar="FILE", help="The page.")] = Path("report.html")
    open: Annotated[bool, Option("--open", help="Open it in the browser.")] = False
    benchmark: Annotated[
        Path | None,
        Option("--benchmark", metavar="DIR", help="Results of a benchmark, shown too.", show_default=False),
    ] = None
    evaluation: Annotated[
        Path, Option("--evaluation", metavar="DIR", help="Where `ccvd evaluate` kept clips.")
    ] = Path("evaluation")
    references: Annotated[
        list[str] | None,
        Option(
            "--references",
            metavar="NAME=DIR",
            help="What a concept was learned from: V1=photos/. Repeatable.",
            show_default=False,
        ),
    ] = None
    budget: Annotated[
        float, Option("--budget", metavar="MB", min=0, max=1e5, help="What pictures may take.")
    ] = 25
    json: JsonOption = False


def register(app: typer.Typer) -> None:
    command(
        app,
        "report",
        report,
        examples=(
            "ccvd report --open",
            "ccvd report --references V1=photos/ --out v1.html",
            "ccvd report --benchmark results/ --budget 60",
        ),
        panel="Measuring",
    )


def report(session: Session, options: ReportOptions) -> None:
    """Write one HTML file about the registry: concepts, scores, forgetting, clips. It needs no network."""
    from ..measure import results
    from ..measure.report import gather, page
    from ..measure.report.media import Media

    if options.out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out '{options.out}': not an .html file.", "Name a file such as report.html.")
    check_file(options.out)
    media = Media(int(options.budget * 1e6))
    bench = None
    with session.registry() as registry:
        folders = folders_of(options.references or [], [c.name for c in registry.list()])
        read, wrong = results.read(options.benchmark) if options.benchmark else ([], [])
        if read:  # half is kept for it; what it leaves goes to concepts, and what these leave to it again
            page.benchmark(read, media.part("the benchmark", 0.5), wrong)
        found = gather.gather(registry, options.evaluation, folders, media.part("the concepts"))
        if read:
            bench = page.benchmark(read, media.part("the benchmark"), wrong)
    page.write(page.render(found, bench, media), options.out)
    if media.left_out:
        session.warn(f"{len(media.left_out)} clips or pictures did not fit into {options.budget:g} MB.")
    for one in (*map(str, media.unread), *found.wrong, *wrong):
        session.warn(f"Skipped, since it cannot be read: {one}.")
    if options.json:
        emit_json(
            {
                "file": options.out,
                "concepts": len(found.cards),
                "bytes": options.out.stat().st_size,
                "left_out": len(media.left_out),
                "skipped": len(media.unread) + len(found.wrong) + len(wrong),
            }
        )
    else:
        emit(str(options.out))
    if options.open:
        import webbrowser

        webbrowser.open(options.out.absolute().as_uri())
