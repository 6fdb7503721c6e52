"""Names: media types, the extensions that promise them, and what people call them."""

from __future__ import annotations

from pathlib import PurePath

OCTET_STREAM = "application/octet-stream"
PDF = "application/pdf"
HTML = "text/html"
XML = "application/xml"
SVG = "image/svg+xml"
RTF = "application/rtf"
EML = "message/rfc822"
MBOX = "application/mbox"
PLAIN = "text/plain"
CSV = "text/csv"
TSV = "text/tab-separated-values"
MARKDOWN = "text/markdown"
ZIP = "application/zip"
GZIP = "application/gzip"
TAR = "application/x-tar"
MSG = "application/vnd.ms-outlook"
OLE = "application/x-ole-storage"
EPUB = "application/epub+zip"
ENCRYPTED_OFFICE = "application/x-encrypted-office"
BIFF = "application/x-biff"
VSD = "application/vnd.visio"
PUB = "application/x-mspublisher"

_OOXML = "application/vnd.openxmlformats-officedocument."
DOCX = _OOXML + "wordprocessingml.document"
XLSX = _OOXML + "spreadsheetml.sheet"
PPTX = _OOXML + "presentationml.presentation"
DOCM = "application/vnd.ms-word.document.macroEnabled.12"
XLSM = "application/vnd.ms-excel.sheet.macroEnabled.12"
PPTM = "application/vnd.ms-powerpoint.presentation.macroEnabled.12"
XLSB = "application/vnd.ms-excel.sheet.binary.macroEnabled.12"
VSDX = "application/vnd.ms-visio.drawing"
XPS = "application/vnd.ms-xpsdocument"
DOC = "application/msword"
XLS = "application/vnd.ms-excel"
PPT = "application/vnd.ms-powerpoint"
ODT = "application/vnd.oasis.opendocument.text"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ODP = "application/vnd.oasis.opendocument.presentation"
PAGES = "application/x-iwork-pages-sffpages"
NUMBERS = "application/x-iwork-numbers-sffnumbers"
KEYNOTE = "application/x-iwork-keynote-sffkey"

# Text kinds that only their name tells apart.
TEXT_EXTENSIONS = {
    "txt": PLAIN, "text": PLAIN, "log": PLAIN, "ini": PLAIN, "cfg": PLAIN, "conf": PLAIN,
    "srt": PLAIN, "vtt": "text/vtt", "ics": "text/calendar", "vcf": "text/vcard",
    "csv": CSV, "tsv": TSV, "tab": TSV, "md": MARKDOWN, "markdown": MARKDOWN,
    "html": HTML, "htm": HTML, "xhtml": "application/xhtml+xml", "xml": XML, "svg": SVG,
    "eml": EML, "mbox": MBOX, "rtf": RTF,
    "org": "text/org", "rst": "text/prs.fallenstein.rst", "tex": "application/x-latex",
    "adoc": "text/asciidoc", "fb2": "application/x-fictionbook+xml", "opml": "application/xml+opml",
    "nxml": "application/x-jats+xml", "bib": "application/x-bibtex", "typ": "text/vnd.typst",
    "ipynb": "application/x-ipynb+json", "json": "application/json", "jsonl": "application/x-ndjson",
    "yaml": "application/yaml", "yml": "application/yaml", "toml": "application/toml",
    "py": "text/x-python", "js": "text/javascript", "mjs": "text/javascript", "ts": "text/x-typescript",
    "java": "text/x-java", "kt": "text/x-kotlin", "c": "text/x-c", "h": "text/x-c", "cpp": "text/x-c++",
    "hpp": "text/x-c++", "cs": "text/x-csharp", "go": "text/x-go", "rs": "text/x-rust",
    "rb": "text/x-ruby", "php": "text/x-php", "pl": "text/x-perl", "sh": "text/x-shellscript",
    "sql": "application/sql", "css": "text/css", "r": "text/x-r", "swift": "text/x-swift",
    "lua": "text/x-lua", "scala": "text/x-scala",
}  # fmt: skip

# Binary kinds by name; only for wording an error, since their content decides what they are.
_BINARY_EXTENSIONS = {
    "pdf": PDF, "docx": DOCX, "docm": DOCM, "xlsx": XLSX, "xlsm": XLSM, "pptx": PPTX, "pptm": PPTM,
    "doc": DOC, "xls": XLS, "ppt": PPT, "odt": ODT, "ods": ODS, "odp": ODP, "epub": EPUB, "msg": MSG,
    "pages": PAGES, "numbers": NUMBERS, "key": KEYNOTE, "zip": ZIP, "vsdx": VSDX, "png": "image/png",
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "tif": "image/tiff", "tiff": "image/tiff",
    "gif": "image/gif", "webp": "image/webp", "bmp": "image/bmp", "heic": "image/heic",
}  # fmt: skip

_DESCRIPTIONS = {
    OCTET_STREAM: "unknown binary data",
    PDF: "PDF", HTML: "web page (HTML)", XML: "XML document", SVG: "SVG drawing", RTF: "RTF document",
    EML: "e-mail", MBOX: "mailbox", PLAIN: "text file", CSV: "CSV table", TSV: "TSV table",
    ZIP: "ZIP archive", GZIP: "gzip archive", TAR: "tar archive", MSG: "Outlook message (.msg)",
    OLE: "Microsoft compound document", EPUB: "EPUB book", ENCRYPTED_OFFICE: "Office document",
    BIFF: "Microsoft Excel 4.0 or older (.xls)", VSD: "Microsoft Visio 2003-2010 (.vsd)",
    PUB: "Microsoft Publisher (.pub)", XLSB: "binary Excel workbook (.xlsb)",
    DOCX: "Word document", DOCM: "Word document", DOC: "Word document",
    XLSX: "Excel workbook", XLSM: "Excel workbook", XLS: "Excel workbook",
    PPTX: "PowerPoint presentation", PPTM: "PowerPoint presentation", PPT: "PowerPoint presentation",
    ODT: "OpenDocument text", ODS: "OpenDocument spreadsheet", ODP: "OpenDocument presentation",
    VSDX: "Visio drawing", XPS: "XPS document", PAGES: "Pages document", NUMBERS: "Numbers spreadsheet",
    KEYNOTE: "Keynote presentation",
    "image/vnd.djvu": "DjVu (.djvu)", "application/vnd.ms-htmlhelp": "compiled HTML help (.chm)",
    "application/x-executable": "a program", "application/vnd.ms-access": "Microsoft Access database",
    "application/x-rar": "RAR archive", "application/x-bzip2": "bzip2 archive",
    "application/x-xz": "xz archive", "application/zstd": "Zstandard archive",
    "application/x-7z-compressed": "7-Zip archive", "application/postscript": "PostScript",
    "application/vnd.sqlite3": "SQLite database", "application/vnd.ms-outlook-pst": "Outlook mailbox (.pst)",
    "font/ttf": "font", "font/woff2": "font", "image/vnd.adobe.photoshop": "Photoshop picture (.psd)",
}  # fmt: skip


def describe(media_type: str) -> str:
    """Say in words for people what a media type is; the type itself when there is no better word."""
    if media_type in _DESCRIPTIONS:
        return _DESCRIPTIONS[media_type]
    family, _, name = media_type.partition("/")
    if family in {"audio", "video"}:
        return f"{family} recording"
    if family == "image":
        return f"{name.upper()} picture"
    return media_type


def extension(filename: str) -> str:
    """Return the file name's last extension in lower case without the dot, or an empty string."""
    return PurePath(filename).suffix.removeprefix(".").lower()


def promised_by_name(filename: str) -> str | None:
    """Return the media type that a file name promises, or ``None`` when it promises nothing."""
    suffix = extension(filename)
    return TEXT_EXTENSIONS.get(suffix) or _BINARY_EXTENSIONS.get(suffix)
