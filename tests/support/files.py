"""Small files made for tests."""

from __future__ import annotations

import io

import pypdf


def pdf(pages, *, title="Quarterly report"):
    """A PDF with one line of text on each page; no text when the line is empty."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>"]
    kids = " ".join(f"{3 + 2 * index} 0 R" for index in range(len(pages)))
    font = 3 + 2 * len(pages)
    objects.append(f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>")
    for index, line in enumerate(pages):
        content = f"BT /F1 24 Tf 72 700 Td ({line}) Tj ET" if line else ""
        objects.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {4 + 2 * index} 0 R"
            f"/Resources<</Font<</F1 {font} 0 R>>>>>>"
        )
        objects.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    objects.append("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    objects.append(f"<</Title({title})/Author(A. Writer)/CreationDate(D:20240102030405Z)>>")
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, 2)
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj{body}endobj\n".encode())
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write("".join(f"{offset:010} 00000 n \n" for offset in offsets).encode())
    count = len(objects)
    out.write(f"trailer<</Size {count + 1}/Root 1 0 R/Info {count} 0 R>>\nstartxref\n{start}\n%%EOF".encode())
    return out.getvalue()


def locked_pdf(pages, password):
    """The same PDF, protected by a password."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(pages)))
    writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()
