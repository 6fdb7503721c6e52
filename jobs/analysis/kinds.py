"""What kind of document this is, judged by cues: words, layout, media type and file name.

Each cue is a pattern with a weight. A cue that must stand near the start is looked for in the
head only; the others in head and tail. A type's score is the sum of the weights of its cues that
occur, a repeated cue counting a little more. Below ``_LEAST_SCORE`` the answer is ``other``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEAD_CHARACTERS = 1_500
_BODY_CHARACTERS = 24_000
_TAIL_CHARACTERS = 6_000
_LEAST_SCORE = 2.5
_DOUBT = 1.5


@dataclass(frozen=True, slots=True)
class _Cue:
    """A pattern over lower-case text, its weight, and whether only the head is searched."""

    pattern: re.Pattern[str]
    weight: float
    head: bool


def _cues(*rows: tuple[float, str], head: bool = False) -> tuple[_Cue, ...]:
    """Compile rows of weight and pattern; ``^`` and ``$`` match at line borders."""
    return tuple(_Cue(re.compile(pattern, re.MULTILINE), weight, head) for weight, pattern in rows)


_CUES: dict[str, tuple[_Cue, ...]] = {
    "invoice": (
        *_cues(
            (3.0, r"^\W{0,4}(?:tax |pro ?forma |commercial )?invoice\b(?! is)|^(?:rechnung|facture|factura|fattura|fatura|factuur)\b"),  # noqa: E501
            (2.0, r"\b(?:bill|invoice|sold) to\b|\bship to\b"),
            head=True,
        ),
        *_cues(
            (2.5, r"\binvoice (?:no|number|date|#|id)\b|\brechnungs(?:nummer|datum|nr)|\bnuméro de facture|\bn[º°o]\.? (?:de )?factura"),  # noqa: E501
            (2.0, r"\b(?:amount|balance|total) due\b|\bpayment terms\b|\bdue date\b|\bzahlungsziel\b|\bnet 30\b"),
            (1.0, r"\bsub ?-?total\b|\bzwischensumme\b|\bsous-total\b"),
            (1.0, r"\b(?:vat|gst|iva|mwst|ust|tva)\b"),
            (1.0, r"\bunit price\b|\beinzelpreis\b|\bprix unitaire\b"),
            (1.0, r"\biban\b|\bremit\b|\bpurchase order\b|\bp\.?o\.? (?:no|number)"),
        ),
    ),
    "receipt": (
        *_cues((3.0, r"\breceipt\b(?! of)|\bcash (?:bill|sales?)\b|\bquittung\b|\bkassenbon\b|\breçu\b|\brecibo\b|\bscontrino\b"), head=True),  # noqa: E501
        *_cues(
            (2.5, r"\bcashier\b|\boperator\b.{0,20}\bcashier\b|\bkassierer"),
            (2.0, r"^.{0,20}\bchange\b.{0,12}\d+[.,]\d\d|\bcash\b.{0,12}\d+[.,]\d\d|\btendered\b|\bamount paid\b"),
            (2.0, r"\bthank ?you\b.{0,40}\b(?:again|come|visit|shopping|purchas)|\bplease come again\b"),
            (1.5, r"\bround(?:ing|ed|ding)?\b.{0,14}(?:adj|amount|amt|\d)"),
            (1.5, r"\bgoods sold\b|\b(?:returnable|refundable|exchange(?:able|d)?)\b"),
            (1.0, r"\btotal\b.{0,20}\d+[.,]\d\d"),
            (1.0, r"\b(?:qty|item\(s\)|items?:)"),
            (1.0, r"\b(?:visa|mastercard|debit card|credit card|card no)\b"),
            (1.0, r"\bgst (?:id|reg|summary|no)|\b\d\d:\d\d(?::\d\d)? ?(?:am|pm)?\b"),
        ),
    ),
    "contract": (
        *_cues((3.0, r"^.{0,60}\b(?:agreement|contract|vertrag|contrat|contrato|contratto)\b.{0,40}$"), head=True),
        *_cues(
            (2.5, r"\b(?:by and between|between the parties|the parties (?:hereto|agree)|hereinafter)\b"),
            (2.0, r"\bin witness whereof\b|\bwhereas\b.{0,200}\bnow,? therefore\b"),
            (1.5, r"\bgoverning law\b|\bindemnif|\bforce majeure\b|\btermination of this\b"),
            (1.0, r"\bshall (?:not )?be\b|\bhereby\b|\bthereof\b"),
            (1.5, r"\bvertragspartei|\bles parties\b|\blas partes\b|\ble parti\b|§ ?1\b"),
        ),
    ),
    "license": (
        *_cues((3.0, r"^.{0,60}\b(?:public )?licen[sc]e\b.{0,30}$|\bcopyright (?:\(c\)|©|\d{4}).{0,80}\n"), head=True),
        *_cues(
            (3.0, r"\bpermission is hereby granted\b|\bredistribution and use\b|\bterms and conditions for (?:use|copying)"),
            (2.0, r"\bprovided \"?as[ -]is\b|\b\"as is\"|\bwithout warrant(?:y|ies)\b"),
            (1.5, r"\bsub-?licens|\bderivative works?\b|\bcovered software\b|\bthe licensed? (?:work|material)"),
            (1.0, r"\bcopyright (?:holders?|notice|owner)\b|\bliab(?:le|ility)\b"),
        ),
    ),
    "letter": (
        *_cues(
            (3.0, r"^\W{0,3}(?:dear\b|sehr geehrte|lieber? |liebe |chère? |cher |madame, monsieur|estimad[oa]|gentile |caro |geachte |prezad[oa])"),  # noqa: E501
            head=True,
        ),
        *_cues(
            (2.5, r"^\W{0,3}(?:yours (?:sincerely|faithfully|truly)|sincerely|best regards|kind regards|respectfully|mit freundlichen grüßen|cordialement|atentamente|cordiali saluti|met vriendelijke groet|atenciosamente)\b"),  # noqa: E501
            (1.0, r"^\W{0,3}(?:encl(?:osure)?s?|cc|ref|re|betreff|objet)\b ?[:.]"),
            (1.0, r"\bi am writing\b|\bi look forward\b|\bplease find (?:enclosed|attached)\b"),
        ),
    ),
    "email": _cues(
        (2.0, r"^\W{0,4}(?:from|von|de|da)\W{0,4}:.{0,80}(?:@|<)"),
        (1.5, r"^\W{0,4}(?:to|an|à|para)\W{0,4}:.{0,80}(?:@|<)"),
        (1.5, r"^\W{0,4}(?:subject|betreff|objet|asunto|oggetto)\W{0,4}:"),
        (1.5, r"^\W{0,4}(?:message-id|mime-version|reply-to|in-reply-to|received|x-mailer)\W{0,4}:"),
        (1.0, r"^\W{0,4}(?:sent|date|cc|bcc)\W{0,4}:"),
        (1.0, r"^on .{5,90} wrote:|^-{2,} ?(?:original|forwarded) message|^begin forwarded message"),
        head=True,
    ),
    "report": (
        *_cues(
            (2.5, r"\b(?:annual|quarterly|half-year|interim|progress|technical|financial|final|status) report\b|\b(?:geschäfts|jahres|zwischen)bericht\b|\brapport annuel\b|\binforme\b"),  # noqa: E501
            (2.0, r"\bform 10-[kq]\b|\bexecutive summary\b|\breport (?:of|on|to) the\b|\bwhite ?paper\b|\bzusammenfassung\b"),
            head=True,
        ),
        *_cues(
            (1.5, r"\bexecutive summary\b|\brecommendations?$|\bkey findings\b|\brisk factors\b"),
            (1.0, r"\bfiscal (?:year|\d{4})\b|\byear ended\b|\bconsolidated\b|\bthis report\b"),
            (1.0, r"^(?:table of )?contents$|\bfigure \d+[.:-]|\btable \d+[.:-]|\bappendix [a-d\d]\b"),
        ),
    ),
    "paper": (
        *_cues((2.5, r"^\W{0,6}(?:abstract|zusammenfassung|résumé|resumen)\b"), (1.5, r"\bkey ?words\b|\bindex terms\b|\barxiv\b|\bdoi\b"), head=True),  # noqa: E501
        *_cues(
            (2.0, r"^\W{0,4}(?:\d+\.?|[ivx]+\.)? ?(?:references|bibliography|literaturverzeichnis)\W{0,4}$"),
            (1.5, r"\bet al\b|\[\d{1,3}(?:, ?\d{1,3}){0,6}\]"),
            (1.5, r"^\W{0,4}(?:\d+\.?|[ivx]+\.)? ?(?:introduction|related work|methods?|methodology|experiments?|conclusions?)\W{0,4}$"),  # noqa: E501
            (2.0, r"\b(?:in this (?:paper|work|article|study)|(?:this|the) (?:paper|article|study) (?:presents?|describes?|proposes?|discuss\w*|examin\w*|investigat\w*|addresses|explores|reports|considers|shows|introduces|is)|the authors? (?:present|propos|describ|discuss|examin|investigat|show|argu|consider|review|report|introduc|suggest)\w*)\b"),  # noqa: E501
            (1.5, r"\bwe (?:present|propose|show|describe|investigate|study|introduce|prove|demonstrate|discuss|consider|examine|develop|derive|analy[sz]e|report|find|use)\b"),  # noqa: E501
            (1.5, r"\b(?:is|are|was|were|been) (?:then |also |thus )?(?:proposed|presented|investigated|discussed|derived|examined|described|analy[sz]ed|studied|introduced|shown|demonstrated|developed|considered|illustrated)\b"),  # noqa: E501
            (1.0, r"\b(?:simulation|experiment(?:al)?|numerical|theoretical|empirical) (?:results?|studies|study|evidence)\b|\bresults (?:show|indicate|suggest|demonstrate)|\bstate[ -]of[ -]the[ -]art\b"),  # noqa: E501
            (1.0, r"\b(?:proposed|novel|new) (?:method|approach|algorithm|scheme|model|technique|framework)s?\b|\balgorithms?\b|\btheorem\b|\bhypothes[ei]s\b"),  # noqa: E501
        ),
    ),
    "news": (
        *_cues(
            (2.5, r"^.{0,40}\((?:reuters|ap|afp|cnn|dpa|bbc|bloomberg)\)|^(?:by .{3,40}$|breaking)|\bpress release\b|\bfor immediate release\b|\bpressemitteilung\b"),  # noqa: E501
            head=True,
        ),
        *_cues(
            (1.5, r"\b(?:said|told|says) (?:on )?(?:reporters|monday|tuesday|wednesday|thursday|friday|saturday|sunday|in a statement|the bbc)\b"),  # noqa: E501
            (1.5, r"[\"”] (?:he|she|mr|mrs|ms)\.? ?\w{0,20} ?(?:said|added|told)\b|\b(?:he|she|spokes(?:man|woman|person)) (?:said|added|told)\b"),  # noqa: E501
            (1.0, r"\b(?:police|government|minister|president|spokes(?:man|woman|person)|election|parliament)\b"),
            (1.0, r"\b(?:on|last|next) (?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b|\byesterday\b"),
            (1.0, r"\bmr [a-z]{3,20} (?:said|told|added|has|was)\b"),
        ),
    ),
    "resume": (
        *_cues((3.0, r"\bcurriculum vitae\b|^\W{0,3}(?:resume|résumé|lebenslauf|currículum|c\.?v\.?)\W{0,3}$"), head=True),
        *_cues(
            (2.0, r"^\W{0,4}(?:(?:work|professional) experience|employment(?: history)?|berufserfahrung|expérience professionnelle|experiencia laboral)\W{0,4}$"),  # noqa: E501
            (1.5, r"^\W{0,4}(?:education|ausbildung|formation|formación|studies)\W{0,4}$"),
            (1.5, r"^\W{0,4}(?:(?:technical |key )?skills|languages|kenntnisse|compétences|references available.{0,20}|hobbies|interests)\W{0,4}$"),  # noqa: E501
            (1.0, r"\blinkedin\.com/in\b|\b(?:19|20)\d\d ?[-–] ?(?:present|heute|aujourd|actual)"),  # noqa: RUF001
        ),
    ),
    "manual": (
        *_cues((2.5, r"\b(?:user(?:'s|s)? (?:guide|manual)|(?:owner|service|reference|instruction) (?:guide|manual)|readme|handbook|bedienungsanleitung|benutzerhandbuch|mode d'emploi|getting started|quick ?start|tutorial)\b"), head=True),  # noqa: E501
        *_cues(
            (2.5, r"^\W{0,4}(?:installation|installing|usage|quick ?start|getting started|configuration|troubleshooting|requirements|contributing|changelog|features|license|examples?|documentation)\W{0,4}$"),  # noqa: E501
            (2.0, r"\bpip3? install\b|\bnpm install\b|\bapt(?:-get)? install\b|\bgit clone\b|\bdocker run\b|\bimport [a-z_]{2,30}$"),
            (1.0, r"\bclick (?:on |the )|\bpress the\b|\bstep \d\b|\bselect the\b|\bmake sure\b|\bthe following (?:command|steps)\b"),
            (1.0, r"```|\$ [a-z]|https?://(?:github|pypi|img\.shields)|\bapi\b"),
        ),
    ),
    "presentation": _cues(
        (2.0, r"^\W{0,4}(?:agenda|outline|overview|q ?& ?a|questions\??|thank you!?)\W{0,4}$"),
        (1.5, r"^\W{0,6}(?:slide|folie|diapositive) ?\d+\b"),
    ),
    "form": (
        *_cues((2.0, r"\b(?:application|registration|order|request|claim|enrol?lment|consent) form\b|\bform (?:no\.? ?)?[a-z]?-?\d{1,5}\b|\bantrag\b|\bformulaire\b|\bformulario\b"), head=True),  # noqa: E501
        *_cues(
            (2.0, r"_{5,}|\.{10,}|☐|□|\[ ?\] "),
            (1.5, r"\bplease (?:print|complete|fill)\b|\bcheck (?:one|all|the box)\b|\bfor office use\b"),
            (1.0, r"^\W{0,3}(?:(?:first|last|full) )?name\W{0,3}:|\bdate of birth\b|\bsignature\b|\bgeburtsdatum\b"),
        ),
    ),
    "spreadsheet": (),
    "minutes": (
        *_cues((3.0, r"\bminutes\b(?! (?:ago|later|before|after|of (?:silence|walk)))|\bsitzungsprotokoll\b|\bprocès-verbal\b|\bcompte rendu\b|\bacta de\b|\bverbale\b"), head=True),  # noqa: E501
        *_cues(
            (2.0, r"\b(?:attendees|in attendance|(?:members )?present|absent|apologies|participants|teilnehmer)\W{0,3}(?::|$)"),
            (2.0, r"\b(?:meeting (?:was )?called to order|(?:motion|moved|seconded) (?:by|to|carried|passed|that)|seconded|adjourn)"),
            (1.5, r"\baction items?\b|\bnext meeting\b|\bagenda item\b|\bold business\b|\bnew business\b|\bquorum\b"),
        ),
    ),
    "medical report": (
        *_cues((3.0, r"\b(?:medical|radiology|pathology|laboratory|lab|discharge|clinical|diagnostic) (?:report|summary|record)\b|\barztbrief\b"), head=True),  # noqa: E501
        *_cues(
            (2.0, r"\bpatient(?:'s)? (?:name|id|information|details)\b|\bpatient ?:|\bmrn\b|\bdate of birth\b|\bdob\b"),
            (1.5, r"^\W{0,4}(?:impression|findings|diagnos[ie]s|clinical history|indication|assessment|chief complaint|prognosis|vital signs)\b"),  # noqa: E501
            (1.5, r"\b(?:mg/dl|mmhg|mmol|mg (?:daily|po|bid)|bpm|hemoglobin|blood pressure|icd-?10)\b"),
            (1.0, r"\b(?:physician|referring|radiologist|specimen|follow-up|dosage|medications?)\b"),
        ),
    ),
    "book": (
        *_cues(
            (2.5, r"^\W{0,4}(?:chapter|kapitel|chapitre|capítulo|capitolo|book|part) (?:[ivxlc]+|\d+|one|the first)\b"),
            (2.0, r"\bisbn\b|\ball rights reserved\b|\bproject gutenberg\b|^(?:preface|foreword|prologue|dedication)$"),
            head=True,
        ),
        *_cues(
            (1.5, r"^\W{0,4}(?:chapter|kapitel|chapitre|capítulo|capitolo) (?:[ivxlc]+|\d+)\b"),
            (1.5, r"[\"“][^\"”\n]{3,200}[\"”],? (?:said|asked|replied|cried|answered|exclaimed)\b"),
            (1.0, r"\b(?:prince|princess|count|castle|whispered|smiled|sighed)\b"),
        ),
    ),
    "code": _cues(
        (2.0, r"^(?:def|class) \w{1,60}[(:]|^from [\w.]{1,60} import |^import [\w.]{1,60}$|^#include\b|^package [\w.]{1,60};"),
        (2.0, r"\bfunction ?\w{0,60} ?\([^)\n]{0,80}\) ?\{|^\s{0,8}(?:public|private|protected|static) \w{1,30} |^(?:const|let|var) \w{1,40} ="),  # noqa: E501
        (1.0, r"[;{}]$|\breturn \w{1,40}"),
    ),
}

_MEDIA = (
    ("message/rfc822", "email", 6.0),
    ("vnd.ms-outlook", "email", 6.0),
    ("spreadsheet", "spreadsheet", 4.0),
    ("excel", "spreadsheet", 4.0),
    ("text/csv", "spreadsheet", 5.0),
    ("tab-separated", "spreadsheet", 5.0),
    ("apple.numbers", "spreadsheet", 4.0),
    ("presentation", "presentation", 4.5),
    ("powerpoint", "presentation", 4.5),
    ("apple.keynote", "presentation", 4.5),
    ("epub", "book", 4.0),
    ("chm", "manual", 3.0),
    ("x-python", "code", 5.0),
    ("javascript", "code", 5.0),
)
_EXTENSIONS = {
    "email": ("eml", "msg", "mbox"),
    "spreadsheet": ("xlsx", "xls", "xlsm", "ods", "csv", "tsv", "numbers"),
    "presentation": ("pptx", "ppt", "odp", "key", "ppsx"),
    "book": ("epub", "mobi", "fb2"),
    "code": ("py", "js", "ts", "java", "c", "h", "cpp", "go", "rs", "rb", "sh", "sql"),
}
_NAME_WORDS = {
    "invoice": "invoice rechnung facture factura",
    "receipt": "receipt quittung",
    "contract": "contract agreement nda vertrag contrat",
    "license": "license licence copying",
    "resume": "resume cv lebenslauf",
    "manual": "readme manual guide handbook",
    "minutes": "minutes protokoll",
    "report": "report 10k bericht rapport",
    "letter": "letter brief",
    "medical report": "medical medrpt",
    "form": "form",
    "book": "book",
    "paper": "paper arxiv",
}


def classify(text: str, media_type: str = "", filename: str = "") -> tuple[str, float]:
    """Judge what kind of document this is.

    Args:
        text: cleaned text, line breaks kept.
        media_type: the detected media type, or empty.
        filename: the name at upload, or empty.

    Returns:
        One of ``DOCUMENT_TYPES`` and a confidence from 0.0 to 1.0.
    """
    scores = _scores(text)
    for part, kind, weight in _MEDIA:
        if part in media_type.lower():
            scores[kind] = scores.get(kind, 0.0) + weight
            break
    else:
        _add_extension(scores, filename)
    _add_name(scores, filename)
    _add_table_share(scores, text)
    ranked = sorted(scores.items(), key=lambda entry: -entry[1])
    (best, score), second = ranked[0], ranked[1][1]
    if score < _LEAST_SCORE:
        return "other", round(max(0.2, 0.6 - 0.15 * score), 2)
    return best, round(score / (score + second + _DOUBT), 2)


def _scores(text: str) -> dict[str, float]:
    """Return each type's sum of weights over the text's head, body and tail."""
    lowered = text[:_BODY_CHARACTERS].lower()
    if len(text) > _BODY_CHARACTERS:
        lowered += "\n" + text[max(_BODY_CHARACTERS, len(text) - _TAIL_CHARACTERS) :].lower()
    head = lowered[:_HEAD_CHARACTERS]
    return {kind: sum(_weight(cue, head if cue.head else lowered) for cue in cues) for kind, cues in _CUES.items()}


def _weight(cue: _Cue, text: str) -> float:
    """Return the cue's weight: whole at one hit, one half more at three."""
    hits = 0
    for _ in cue.pattern.finditer(text):
        hits += 1
        if hits == 3:
            return 1.5 * cue.weight
    return cue.weight if hits else 0.0


def _add_extension(scores: dict[str, float], filename: str) -> None:
    """Add what the file name's extension says, when the media type said nothing."""
    extension = filename.lower().rpartition(".")[2]
    for kind, extensions in _EXTENSIONS.items():
        if extension in extensions:
            scores[kind] += 4.0


def _add_name(scores: dict[str, float], filename: str) -> None:
    """Add a little for a word in the file's name."""
    words = set(re.split(r"[\W_\d]+", filename.lower()[:200]))
    for kind, names in _NAME_WORDS.items():
        if words & set(names.split()):
            scores[kind] += 1.5


def _add_table_share(scores: dict[str, float], text: str) -> None:
    """Count a text that is mostly rows of separated cells as a spreadsheet."""
    lines = [line for line in text[:20_000].split("\n") if line.strip()]
    rows = sum(line.count("|") >= 2 or line.count("\t") >= 2 or line.count(";") >= 3 for line in lines)
    if len(lines) >= 4 and rows > 0.7 * len(lines):
        scores["spreadsheet"] += 2.6
