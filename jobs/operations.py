"""Operations: named pipelines of stages, and what each stage computes.

A stage is a checkpoint. Its product, an artifact, is kept under a key made of the content's hash, the
stage, its options and the engine's version, so that neither a retry nor a second copy of the
same file computes it again.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from jobs import extraction
from jobs.analysis import AnalysisInput, Analyzer, BuiltinAnalyzer, OpenAIAnalyzer
from jobs.errors import Permanent, UnsupportedOperation
from jobs.model import IMAGES_OPERATION, JSON, RETRY_PAGES, Artifact, Document, PageImage
from jobs.read_options import PASSWORD_CODES
from jobs.settings import Settings

# Which options change what a stage makes.
_OPTIONS_OF = {
    "extract": frozenset({"languages", "ocr", "pages", "tables", "password"}),
    IMAGES_OPERATION: frozenset({"password"}),
}


class Report(Protocol):
    """Takes how far a stage is."""

    def __call__(self, progress: float, page: int = 0, page_count: int = 0) -> None:
        """Say how much is done."""


@dataclass(frozen=True, slots=True)
class StageInput:
    """What a stage may look at.

    Attributes:
        document: the document.
        path: its bytes.
        done: the artifacts of the stages before, by name.
        first_page: with which page to begin where pages are drawn, from 1.
        report: call with a progress in [0, 1], and where there are pages with how many are done and how
            many there are; it raises when the attempt has to stop.
        options: what the sender asks of the reading.
        members: keeps what is taken out of the document.
        show_pages: takes the pages that are read while others are not yet.
        base: what this stage once made of the document and shall mend; its failed pages are wanted only.
    """

    document: Document
    path: Path
    done: dict[str, Artifact]
    report: Report
    first_page: int = 1
    options: extraction.ReadOptions = extraction.USUAL
    members: extraction.MemberKeeper | None = None
    show_pages: extraction.OnPages | None = None
    base: Artifact | None = None


@dataclass(frozen=True, slots=True)
class StageOutput:
    """What a stage produced: everything, the small part that lists show, and pictures."""

    body: dict[str, JSON]
    meta: dict[str, JSON]
    images: tuple[PageImage, ...] = ()


class Stage(Protocol):
    """One checkpoint of an operation."""

    @property
    def name(self) -> str:
        """The stage's name."""

    @property
    def engine(self) -> str:
        """What computes it."""

    @property
    def engine_version(self) -> str:
        """Which version of that; part of the key that artifacts are kept under."""

    def run(self, stage_input: StageInput) -> StageOutput:
        """Compute the product.

        Raises:
            ProcessingError: says whether another try may help.
        """


@dataclass(frozen=True, slots=True)
class ExtractStage:
    """Text, structure and metadata, read in a child process with limits."""

    settings: Settings
    name: str = "extract"
    engine: str = "extraction"

    @property
    def engine_version(self) -> str:
        """The versions of the engines that may read a file."""
        languages = ".".join(self.settings.ocr_language_codes)
        return f"{extraction.engine_version(self._ocr)}+languages-{languages}"

    @property
    def _ocr(self) -> extraction.OcrSetup:
        return extraction.OcrSetup(
            engine=extraction.OcrEngine(self.settings.ocr_engine), models_dir=self.settings.ocr_models_dir
        )

    def _with_languages(self, options: extraction.ReadOptions) -> extraction.ReadOptions:
        """Fill in the operator's languages where the sender names none."""
        return replace(options, languages=options.languages or self.settings.ocr_language_codes)

    def run(self, stage_input: StageInput) -> StageOutput:
        """Read the file."""
        base = None if stage_input.base is None else extraction.Extraction.from_json(stage_input.base.body)
        # Without the places of its pages an older result cannot be mended, and all is read anew.
        wanted = [one.page for one in base.failed_pages] if base is not None and base.page_starts else []
        try:
            found = extraction.extract(
                stage_input.path,
                filename=stage_input.document.filename,
                limits=_limits(self.settings),
                options=self._with_languages(stage_input.options),
                ocr=self._ocr,
                only=wanted,
                on_progress=lambda at: stage_input.report(at.share, at.page, at.page_count),
                on_pages=None if wanted else stage_input.show_pages,
                members=stage_input.members if self.settings.max_members else None,
            )
        except Permanent as error:
            if base is None or not wanted or error.code in PASSWORD_CODES:
                raise
            # Nothing more can be had of these pages; what there is stays as it was.
            found = base
        else:
            if base is not None and wanted:
                found = extraction.merge(base, found, wanted)
        meta: dict[str, JSON] = {
            "title": found.title,
            "page_count": found.page_count,
            "language": found.language,
            "characters": len(found.text),
            "engine": found.engine,
            "warnings": len(found.warnings),
            "failed_pages": len(found.failed_pages),
        } | _password_meta(stage_input.options)
        return StageOutput(body=found.to_json(), meta=meta)


@dataclass(frozen=True, slots=True)
class AnalyzeStage:
    """Summary, key phrases and document type of the extracted text."""

    analyzer: Analyzer
    name: str = "analyze"

    @property
    def engine(self) -> str:
        """The analyzer's name."""
        return self.analyzer.name

    @property
    def engine_version(self) -> str:
        """The analyzer's version."""
        return self.analyzer.version

    def run(self, stage_input: StageInput) -> StageOutput:
        """Analyse the text that the stage ``extract`` left."""
        text = extraction.Extraction.from_json(stage_input.done["extract"].body)
        found = self.analyzer.analyze(
            AnalysisInput(
                text=text.text,
                markdown=text.markdown,
                title=text.title,
                language=text.language,
                media_type=text.media_type,
                filename=stage_input.document.filename,
                metadata=text.metadata,
            )
        )
        meta: dict[str, JSON] = {
            "document_type": found.document_type,
            "title": found.title,
            "engine": found.engine,
            "model": found.model,
        }
        return StageOutput(body=found.to_json(), meta=meta)


@dataclass(frozen=True, slots=True)
class ImagesStage:
    """Pictures of the pages, drawn in a child process with limits."""

    settings: Settings
    name: str = IMAGES_OPERATION
    engine: str = "drawing"

    @property
    def engine_version(self) -> str:
        """The versions of the engines that draw."""
        return extraction.DRAWING_VERSION

    def run(self, stage_input: StageInput) -> StageOutput:
        """Draw some pages."""
        drawing = extraction.draw(
            stage_input.path,
            media_type=stage_input.document.media_type,
            limits=_limits(self.settings),
            first_page=stage_input.first_page,
            options=stage_input.options,
            on_progress=lambda at: stage_input.report(at.share, at.page, at.page_count),
        )
        body: dict[str, JSON] = {"page_count": drawing.page_count, "warnings": list[JSON](drawing.warnings)}
        meta: dict[str, JSON] = {"page_count": drawing.page_count, "images": len(drawing.images)}
        meta |= _password_meta(stage_input.options)
        return StageOutput(body, meta, drawing.images)


def _password_meta(options: extraction.ReadOptions) -> dict[str, JSON]:
    """Mark what was made with a password; see :mod:`jobs.duplicates`."""
    return {} if options.password is None else {"with_password": True}


def _limits(settings: Settings) -> extraction.Limits:
    """Return the bounds of a child that opens a document."""
    return extraction.Limits(
        wall_seconds=settings.extract_timeout_seconds,
        cpu_seconds=max(1, int(settings.extract_timeout_seconds)),
        memory_bytes=settings.extract_memory_bytes,
        cage_level=settings.cage_level,
        members=settings.max_members,
        member_bytes=settings.max_upload_bytes,
        members_bytes=4 * settings.max_upload_bytes,
    )


@dataclass(frozen=True, slots=True)
class Operation:
    """A named pipeline.

    Attributes:
        name: what people ask for.
        stages: the stages' names, in order.
        own: those that ``fresh`` computes anew; the others are only needed on the way.
    """

    name: str
    stages: tuple[str, ...]
    own: frozenset[str]


OPERATIONS: dict[str, Operation] = {
    "process": Operation("process", ("extract", "analyze"), frozenset({"extract", "analyze"})),
    "extract": Operation("extract", ("extract",), frozenset({"extract"})),
    "analyze": Operation("analyze", ("extract", "analyze"), frozenset({"analyze"})),
    IMAGES_OPERATION: Operation(IMAGES_OPERATION, (IMAGES_OPERATION,), frozenset({IMAGES_OPERATION})),
    RETRY_PAGES: Operation(RETRY_PAGES, ("extract", "analyze"), frozenset()),
}


@dataclass(frozen=True, slots=True)
class Resource:
    """Something outside that a stage uses, and how many items may use it at once (0: any number)."""

    key: str
    most: int


def resource_of(stage: str, settings: Settings) -> Resource | None:
    """Return what a stage uses besides this machine, ``None`` for most.

    Args:
        stage: the stage's name.
        settings: says whether a model endpoint is asked.
    """
    if stage == "analyze" and settings.llm_enabled:
        return Resource("model", settings.llm_max_running)
    return None


def resources_of_operations(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the keys of what each operation uses outside; throttles have the same keys."""
    used = {
        name: [resource_of(stage, settings) for stage in operation.stages]
        for name, operation in OPERATIONS.items()
    }
    return {name: tuple(one.key for one in found if one is not None) for name, found in used.items()}


def find_operation(name: str) -> Operation:
    """Return an operation.

    Raises:
        UnsupportedOperation: there is none of that name.
    """
    try:
        return OPERATIONS[name]
    except KeyError:
        raise UnsupportedOperation(
            f"There is no operation {name!r}; choose one of {', '.join(OPERATIONS)}."
        ) from None


def make_stages(settings: Settings) -> dict[str, Stage]:
    """Make every stage, with the engines that the settings choose."""
    return {
        "extract": ExtractStage(settings),
        "analyze": AnalyzeStage(_make_analyzer(settings)),
        IMAGES_OPERATION: ImagesStage(settings),
    }


@functools.cache
def _make_analyzer(settings: Settings) -> Analyzer:
    if settings.llm_enabled:
        return OpenAIAnalyzer(
            base_url=settings.llm_base_url,
            api_key=settings.llm_api_key,
            model=settings.llm_model,
            timeout_seconds=settings.llm_timeout_seconds,
        )
    return BuiltinAnalyzer()


def cache_key(
    stage: Stage,
    document: Document,
    done: dict[str, Artifact],
    first_page: int = 1,
    options: Mapping[str, JSON] = MappingProxyType({}),
    base: Artifact | None = None,
) -> str:
    """Name the artifact that a stage would produce.

    Args:
        stage: the stage.
        document: whose content is read.
        done: the artifacts of the stages before, which the product depends on.
        first_page: as in the stage's input.
        options: see :func:`jobs.read_options.key_parts`; they tell readings apart.
        base: the artifact that is mended.

    Returns:
        64 hexadecimal digits.
    """
    parts: dict[str, JSON] = {
        "content": document.sha256,
        # The name's extension decides between text formats that look alike.
        "extension": Path(document.filename).suffix.lower(),
        "stage": stage.name,
        "engine": stage.engine,
        "version": stage.engine_version,
        "inputs": list[JSON](sorted(artifact.cache_key for artifact in done.values())),
    }
    if first_page > 1:
        parts["first_page"] = first_page
    counted = _OPTIONS_OF.get(stage.name, frozenset())
    if asked := {name: value for name, value in options.items() if name in counted}:
        parts["options"] = asked
    if base is not None:
        parts["base"] = base.id
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
