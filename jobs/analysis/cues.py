"""The cues by which the kind of a document is judged; data for ``kinds``.

Every row is a weight and a pattern over lower-case text in which ``^`` and ``$`` match at line
borders. Patterns start at a border and every repetition in them is bounded, so that a search
takes linear time.
"""

from __future__ import annotations

Rows = tuple[tuple[float, str], ...]

# Looked for near the start only.
HEAD_CUES: dict[str, Rows] = {
    "invoice": (
        (
            3.0,
            (
                r"^\W{0,4}(?:tax |pro ?forma |commercial )?invoice\b(?! is)|^(?:rechnung|facture|"
                r"factura|fattura|fatura|factuur)\b"
            ),
        ),
        (2.0, r"\b(?:bill|invoice|sold) to\b|\bship to\b"),
    ),
    "receipt": (
        (
            3.0,
            (
                r"\breceipt\b(?! of)|\bcash (?:bill|sales?)\b|\bquittung\b|\bkassenbon\b|\breçu\b|"
                r"\brecibo\b|\bscontrino\b"
            ),
        ),
    ),
    "contract": ((3.0, r"^.{0,60}\b(?:agreement|contract|vertrag|contrat|contrato|contratto)\b.{0,40}$"),),
    "license": ((3.0, r"^.{0,60}\b(?:public )?licen[sc]e\b.{0,30}$|\bcopyright (?:\(c\)|©|\d{4}).{0,80}\n"),),
    "letter": (
        (
            3.0,
            (
                r"^\W{0,3}(?:dear\b|sehr geehrte|lieber? |liebe |chère? |cher |madame, monsieur|"
                r"estimad[oa]|gentile |caro |geachte |prezad[oa])"
            ),
        ),
    ),
    "email": (
        (2.0, r"^\W{0,4}(?:from|von|de|da)\W{0,4}:.{0,80}(?:@|<)"),
        (1.5, r"^\W{0,4}(?:to|an|à|para)\W{0,4}:.{0,80}(?:@|<)"),
        (1.5, r"^\W{0,4}(?:subject|betreff|objet|asunto|oggetto)\W{0,4}:"),
        (1.5, r"^\W{0,4}(?:message-id|mime-version|reply-to|in-reply-to|received|x-mailer)\W{0,4}:"),
        (1.0, r"^\W{0,4}(?:sent|date|cc|bcc)\W{0,4}:"),
        (1.0, r"^on .{5,90} wrote:|^-{2,} ?(?:original|forwarded) message|^begin forwarded message"),
    ),
    "report": (
        (
            2.5,
            (
                r"\b(?:annual|quarterly|half-year|interim|progress|technical|financial|final|"
                r"status) report\b|\b(?:geschäfts|jahres|zwischen)bericht\b|\brapport annuel\b|"
                r"\binforme\b"
            ),
        ),
        (
            2.0,
            (
                r"\bform 10-[kq]\b|\bexecutive summary\b|\breport (?:of|on|to) the\b|\bwhite ?paper\b|"
                r"\bzusammenfassung\b"
            ),
        ),
    ),
    "paper": (
        (2.5, r"^\W{0,6}(?:abstract|zusammenfassung|résumé|resumen)\b"),
        (1.5, r"\bkey ?words\b|\bindex terms\b|\barxiv\b|\bdoi\b"),
    ),
    "news": (
        (
            2.5,
            (
                r"^.{0,40}\((?:reuters|ap|afp|cnn|dpa|bbc|bloomberg)\)|^(?:by .{3,40}$|breaking)|"
                r"\bpress release\b|\bfor immediate release\b|\bpressemitteilung\b"
            ),
        ),
    ),
    "resume": (
        (
            3.0,
            (
                r"\bcurriculum vitae\b|^\W{0,3}(?:resume|résumé|lebenslauf|currículum|"
                r"c\.?v\.?)\W{0,3}$"
            ),
        ),
    ),
    "manual": (
        (
            2.5,
            (
                r"\b(?:user(?:'s|s)? (?:guide|manual)|(?:owner|service|reference|"
                r"instruction) (?:guide|manual)|readme|handbook|bedienungsanleitung|benutzerhandbuch|"
                r"mode d'emploi|getting started|quick ?start|tutorial)\b"
            ),
        ),
    ),
    "form": (
        (
            2.0,
            (
                r"\b(?:application|registration|order|request|claim|enrol?lment|consent) form\b|"
                r"\bform (?:no\.? ?)?[a-z]?-?\d{1,5}\b|\bantrag\b|\bformulaire\b|\bformulario\b"
            ),
        ),
    ),
    "minutes": (
        (
            3.0,
            (
                r"\bminutes\b(?! (?:ago|later|before|after|of (?:silence|walk)))|"
                r"\bsitzungsprotokoll\b|\bprocès-verbal\b|\bcompte rendu\b|\bacta de\b|\bverbale\b"
            ),
        ),
    ),
    "medical report": (
        (
            3.0,
            (
                r"\b(?:medical|radiology|pathology|laboratory|lab|discharge|clinical|"
                r"diagnostic) (?:report|summary|record)\b|\barztbrief\b"
            ),
        ),
    ),
    "book": (
        (
            2.5,
            (
                r"^\W{0,4}(?:chapter|kapitel|chapitre|capítulo|capitolo|book|part) (?:[ivxlc]+|\d+|"
                r"one|the first)\b"
            ),
        ),
        (
            2.0,
            (
                r"\bisbn\b|\ball rights reserved\b|\bproject gutenberg\b|^(?:preface|foreword|"
                r"prologue|dedication)$"
            ),
        ),
    ),
}

# Looked for everywhere.
BODY_CUES: dict[str, Rows] = {
    "invoice": (
        (
            2.5,
            (
                r"\binvoice (?:no|number|date|#|id)\b|\brechnungs(?:nummer|datum|nr)|"
                r"\bnuméro de facture|\bn[º°o]\.? (?:de )?factura"
            ),
        ),
        (
            2.0,
            (
                r"\b(?:amount|balance|total) due\b|\bpayment terms\b|\bdue date\b|\bzahlungsziel\b|"
                r"\bnet 30\b"
            ),
        ),
        (1.0, r"\bsub ?-?total\b|\bzwischensumme\b|\bsous-total\b"),
        (1.0, r"\b(?:vat|gst|iva|mwst|ust|tva)\b"),
        (1.0, r"\bunit price\b|\beinzelpreis\b|\bprix unitaire\b"),
        (1.0, r"\biban\b|\bremit\b|\bpurchase order\b|\bp\.?o\.? (?:no|number)"),
    ),
    "receipt": (
        (2.5, r"\bcashier\b|\boperator\b.{0,20}\bcashier\b|\bkassierer"),
        (
            2.0,
            (
                r"^.{0,20}\bchange\b.{0,12}\d+[.,]\d\d|\bcash\b.{0,12}\d+[.,]\d\d|\btendered\b|"
                r"\bamount paid\b"
            ),
        ),
        (2.0, r"\bthank ?you\b.{0,40}\b(?:again|come|visit|shopping|purchas)|\bplease come again\b"),
        (1.5, r"\bround(?:ing|ed|ding)?\b.{0,14}(?:adj|amount|amt|\d)"),
        (1.5, r"\bgoods sold\b|\b(?:returnable|refundable|exchange(?:able|d)?)\b"),
        (1.0, r"\btotal\b.{0,20}\d+[.,]\d\d"),
        (1.0, r"\b(?:qty|item\(s\)|items?:)"),
        (1.0, r"\b(?:visa|mastercard|debit card|credit card|card no)\b"),
        (1.0, r"\bgst (?:id|reg|summary|no)|\b\d\d:\d\d(?::\d\d)? ?(?:am|pm)?\b"),
    ),
    "contract": (
        (2.5, r"\b(?:by and between|between the parties|the parties (?:hereto|agree)|hereinafter)\b"),
        (2.0, r"\bin witness whereof\b|\bwhereas\b.{0,200}\bnow,? therefore\b"),
        (1.5, r"\bgoverning law\b|\bindemnif|\bforce majeure\b|\btermination of this\b"),
        (1.0, r"\bshall (?:not )?be\b|\bhereby\b|\bthereof\b"),
        (1.5, r"\bvertragspartei|\bles parties\b|\blas partes\b|\ble parti\b|§ ?1\b"),
    ),
    "license": (
        (
            3.0,
            (
                r"\bpermission is hereby granted\b|\bredistribution and use\b|"
                r"\bterms and conditions for (?:use|copying)"
            ),
        ),
        (2.0, r"\bprovided \"?as[ -]is\b|\b\"as is\"|\bwithout warrant(?:y|ies)\b"),
        (
            1.5,
            (
                r"\bsub-?licens|\bderivative works?\b|\bcovered software\b|\bthe licensed? (?:work|"
                r"material)"
            ),
        ),
        (1.0, r"\bcopyright (?:holders?|notice|owner)\b|\bliab(?:le|ility)\b"),
    ),
    "letter": (
        (
            2.5,
            (
                r"^\W{0,3}(?:yours (?:sincerely|faithfully|truly)|sincerely|best regards|kind regards|"
                r"respectfully|mit freundlichen grüßen|cordialement|atentamente|cordiali saluti|"
                r"met vriendelijke groet|atenciosamente)\b"
            ),
        ),
        (1.0, r"^\W{0,3}(?:encl(?:osure)?s?|cc|ref|re|betreff|objet)\b ?[:.]"),
        (1.0, r"\bi am writing\b|\bi look forward\b|\bplease find (?:enclosed|attached)\b"),
    ),
    "report": (
        (1.5, r"\bexecutive summary\b|\brecommendations?$|\bkey findings\b|\brisk factors\b"),
        (1.0, r"\bfiscal (?:year|\d{4})\b|\byear ended\b|\bconsolidated\b|\bthis report\b"),
        (1.0, r"^(?:table of )?contents$|\bfigure \d+[.:-]|\btable \d+[.:-]|\bappendix [a-d\d]\b"),
    ),
    "paper": (
        (
            2.0,
            (
                r"^\W{0,4}(?:\d+\.?|[ivx]+\.)? ?(?:references|bibliography|"
                r"literaturverzeichnis)\W{0,4}$"
            ),
        ),
        (1.5, r"\bet al\b|\[\d{1,3}(?:, ?\d{1,3}){0,6}\]"),
        (
            1.5,
            (
                r"^\W{0,4}(?:\d+\.?|[ivx]+\.)? ?(?:introduction|related work|methods?|methodology|"
                r"experiments?|conclusions?)\W{0,4}$"
            ),
        ),
        (
            2.0,
            (
                r"\b(?:in this (?:paper|work|article|study)|(?:this|the) (?:paper|article|"
                r"study) (?:presents?|describes?|proposes?|discuss\w*|examin\w*|investigat\w*|"
                r"addresses|explores|reports|considers|shows|introduces|is)|the authors? (?:present|"
                r"propos|describ|discuss|examin|investigat|show|argu|consider|review|report|introduc|"
                r"suggest)\w*)\b"
            ),
        ),
        (
            1.5,
            (
                r"\bwe (?:present|propose|show|describe|investigate|study|introduce|prove|demonstrate|"
                r"discuss|consider|examine|develop|derive|analy[sz]e|report|find|use)\b"
            ),
        ),
        (
            1.5,
            (
                r"\b(?:is|are|was|were|been) (?:then |also |thus )?(?:proposed|presented|investigated|"
                r"discussed|derived|examined|described|analy[sz]ed|studied|introduced|shown|"
                r"demonstrated|developed|considered|illustrated)\b"
            ),
        ),
        (
            1.0,
            (
                r"\b(?:simulation|experiment(?:al)?|numerical|theoretical|empirical) (?:results?|"
                r"studies|study|evidence)\b|\bresults (?:show|indicate|suggest|demonstrate)|"
                r"\bstate[ -]of[ -]the[ -]art\b"
            ),
        ),
        (
            1.0,
            (
                r"\b(?:proposed|novel|new) (?:method|approach|algorithm|scheme|model|technique|"
                r"framework)s?\b|\balgorithms?\b|\btheorem\b|\bhypothes[ei]s\b"
            ),
        ),
    ),
    "news": (
        (
            1.5,
            (
                r"\b(?:said|told|says) (?:on )?(?:reporters|monday|tuesday|wednesday|thursday|friday|"
                r"saturday|sunday|in a statement|the bbc)\b"
            ),
        ),
        (
            1.5,
            (
                r"[\"”] (?:he|she|mr|mrs|ms)\.? ?\w{0,20} ?(?:said|added|told)\b|\b(?:he|she|"
                r"spokes(?:man|woman|person)) (?:said|added|told)\b"
            ),
        ),
        (
            1.0,
            (
                r"\b(?:police|government|minister|president|spokes(?:man|woman|person)|election|"
                r"parliament)\b"
            ),
        ),
        (
            1.0,
            (
                r"\b(?:on|last|next) (?:monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b|"
                r"\byesterday\b"
            ),
        ),
        (1.0, r"\bmr [a-z]{3,20} (?:said|told|added|has|was)\b"),
    ),
    "resume": (
        (
            2.0,
            (
                r"^\W{0,4}(?:(?:work|professional) experience|employment(?: history)?|berufserfahrung|"
                r"expérience professionnelle|experiencia laboral)\W{0,4}$"
            ),
        ),
        (1.5, r"^\W{0,4}(?:education|ausbildung|formation|formación|studies)\W{0,4}$"),
        (
            1.5,
            (
                r"^\W{0,4}(?:(?:technical |key )?skills|languages|kenntnisse|compétences|"
                r"references available.{0,20}|hobbies|interests)\W{0,4}$"
            ),
        ),
        (1.0, r"\blinkedin\.com/in\b|\b(?:19|20)\d\d ?[-\u2013] ?(?:present|heute|aujourd|actual)"),
    ),
    "manual": (
        (
            2.5,
            (
                r"^\W{0,4}(?:installation|installing|usage|quick ?start|getting started|configuration|"
                r"troubleshooting|requirements|contributing|changelog|features|license|examples?|"
                r"documentation)\W{0,4}$"
            ),
        ),
        (
            2.0,
            (
                r"\bpip3? install\b|\bnpm install\b|\bapt(?:-get)? install\b|\bgit clone\b|"
                r"\bdocker run\b|\bimport [a-z_]{2,30}$"
            ),
        ),
        (
            1.0,
            (
                r"\bclick (?:on |the )|\bpress the\b|\bstep \d\b|\bselect the\b|\bmake sure\b|"
                r"\bthe following (?:command|steps)\b"
            ),
        ),
        (1.0, r"```|\$ [a-z]|https?://(?:github|pypi|img\.shields)|\bapi\b"),
    ),
    "presentation": (
        (2.0, r"^\W{0,4}(?:agenda|outline|overview|q ?& ?a|questions\??|thank you!?)\W{0,4}$"),
        (1.5, r"^\W{0,6}(?:slide|folie|diapositive) ?\d+\b"),
    ),
    "form": (
        (2.0, r"_{5,}|\.{10,}|☐|□|\[ ?\] "),
        (1.5, r"\bplease (?:print|complete|fill)\b|\bcheck (?:one|all|the box)\b|\bfor office use\b"),
        (
            1.0,
            (
                r"^\W{0,3}(?:(?:first|last|full) )?name\W{0,3}:|\bdate of birth\b|\bsignature\b|"
                r"\bgeburtsdatum\b"
            ),
        ),
    ),
    "minutes": (
        (
            2.0,
            (
                r"\b(?:attendees|in attendance|(?:members )?present|absent|apologies|participants|"
                r"teilnehmer)\W{0,3}(?::|$)"
            ),
        ),
        (
            2.0,
            (
                r"\b(?:meeting (?:was )?called to order|(?:motion|moved|seconded) (?:by|to|carried|"
                r"passed|that)|seconded|adjourn)"
            ),
        ),
        (
            1.5,
            (
                r"\baction items?\b|\bnext meeting\b|\bagenda item\b|\bold business\b|"
                r"\bnew business\b|\bquorum\b"
            ),
        ),
    ),
    "medical report": (
        (
            2.0,
            (
                r"\bpatient(?:'s)? (?:name|id|information|details)\b|\bpatient ?:|\bmrn\b|"
                r"\bdate of birth\b|\bdob\b"
            ),
        ),
        (
            1.5,
            (
                r"^\W{0,4}(?:impression|findings|diagnos[ie]s|clinical history|indication|assessment|"
                r"chief complaint|prognosis|vital signs)\b"
            ),
        ),
        (1.5, r"\b(?:mg/dl|mmhg|mmol|mg (?:daily|po|bid)|bpm|hemoglobin|blood pressure|icd-?10)\b"),
        (1.0, r"\b(?:physician|referring|radiologist|specimen|follow-up|dosage|medications?)\b"),
    ),
    "book": (
        (1.5, r"^\W{0,4}(?:chapter|kapitel|chapitre|capítulo|capitolo) (?:[ivxlc]+|\d+)\b"),
        (1.5, r"[\"“][^\"”\n]{3,200}[\"”],? (?:said|asked|replied|cried|answered|exclaimed)\b"),
        (1.0, r"\b(?:prince|princess|count|castle|whispered|smiled|sighed)\b"),
    ),
    "code": (
        (
            2.0,
            (
                r"^(?:def|class) \w{1,60}[(:]|^from [\w.]{1,60} import |^import [\w.]{1,60}$|"
                r"^#include\b|^package [\w.]{1,60};"
            ),
        ),
        (
            2.0,
            (
                r"\bfunction ?\w{0,60} ?\([^)\n]{0,80}\) ?\{|^\s{0,8}(?:public|private|protected|"
                r"static) \w{1,30} |^(?:const|let|var) \w{1,40} ="
            ),
        ),
        (1.0, r"[;{}]$|\breturn \w{1,40}"),
    ),
}
