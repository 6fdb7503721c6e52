# ruff: noqa: RUF001 (Cyrillic letters resemble Latin ones)
"""Words that carry no topic, for the languages this program meets most, written for this project.

A stop word ends a keyphrase candidate and counts for nothing in a sentence's score. A language
without a list here gets one guessed from the text itself (``guess_stop_words``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

_EN = """
a able about above according accordingly across after again against ago all almost along already also
although always am among an and another any anyone anything are aren't around as at away back be became
because become becomes been before behind being below beside besides best better between beyond both but by
came can cannot can't come comes could couldn't did didn't do does doesn't doing done don't down due during
each either else enough especially etc even ever every everyone everything except far few first five for
former four from further furthermore gave get gets getting give given gives go goes going gone good got great
had has hasn't have haven't having he hence her here hereby herein hers herself him himself his how however i
if in indeed instead into is isn't it its it's itself just keep kept know known large last later least less
let let's like likely little long look lot made mainly make makes making many may maybe me mean might mine
more moreover most mostly much must my myself namely near nearly necessary need needs neither never
nevertheless new next no nobody none nor not nothing now nowhere of off often on once one ones only onto or
other others otherwise ought our ours ourselves out over overall own particular particularly per perhaps
please possible presented put quite rather really recent recently regarding related respectively said same
saw say says second see seem seems seen several shall she should shouldn't show showed shown shows since six
small so some someone something sometimes soon still such take taken takes taking than that that's the their
theirs them themselves then there thereby therefore therein these they thing things this those though three
through throughout thus to today together told too took toward towards two typically under unless unlike
until up upon us
million billion et al don doesn i'm i've i'll it'll you're you'll we're we've they're there's
what's let's who's
use used useful uses using usually various very via was wasn't way ways we well went were
weren't what whatever when where whereas wherein whether which while who whole whom whose why will with
within without won't would wouldn't yes yet you your yours yourself yourselves
allow allows among amongst based consider considered considering different discuss discussed find finds found
include includes including introduce introduced obtained order paper present presents propose proposed
provide provided provides result right set
ability achieve achieved addition address addressed addresses analyze analyzed applied apply argue argued
aspects
become compare compared concern concerns deal deals demonstrate demonstrated derived describe described
describes
determine develop developed discusses elsewhere employ employed enable enables examine examined example
examples
explain explains explore explores extract extracting focus focuses form forms help helping helps identified
identify increasing increasingly introduces investigate investigated investigates kind lead leading leads
number
offer offers perform performed performing require required requires suggest suggested suggests type types
"""

_DE = """
ab aber alle allem allen aller alles als also am an andere anderem anderen anderer anderes auch auf aus außer
bei beim beide beiden bereits bis bisher bist bzw da dabei dadurch dafür dagegen daher damit danach dann daran
darauf daraus darf darin darüber das dass daß davon dazu dein deine dem den denen denn dennoch der deren des
deshalb dessen desto die dies diese diesem diesen dieser dieses doch dort du durch dürfen ebenso eher ein eine
einem einen einer eines einige einigen einiger einmal er erst erste ersten es etwa etwas euch euer eure falls
fast für ganz gar gegen gegenüber gewesen gibt gut habe haben hat hatte hatten her hier hin hinter ich ihm
ihn ihnen ihr ihre ihrem ihren ihrer im immer in indem ins insbesondere ist ja je jede jedem jeden jeder jedes
jedoch jene jetzt kann kannst kein keine keinem keinen keiner können konnte könnte lassen machen macht man
mehr mein meine meinem meinen meiner mich mir mit möchte mögen muss müssen musste nach nachdem neben nein
neue neuen nicht nichts noch nun nur ob oder ohne schon sehr sei sein seine seinem seinen seiner seit selbst
sich sie sind so sobald sofern sogar solche solchen soll sollen sollte sollten somit sondern sonst soweit
sowie sowohl statt über überhaupt um und uns unser unsere unserem unseren unserer unter usw viel viele vielen
vom von vor wann war waren warum was wegen weil weiter weitere weiteren welche welchem welchen welcher welches
wenig weniger wenn wer werde werden wie wieder will wir wird wo wobei wodurch wollen worden wurde wurden zu
zum zur zwar zwei zwischen
"""

_FR = """
à afin ai aient ainsi alors après as assez au aucun aucune aujourd'hui auquel aura aussi autant autre autres
aux avaient avait avant avec avez avoir avons ayant beaucoup bien bon car ce ceci cela celle celles celui
cependant certain certaines certains ces cet cette ceux chaque chez ci comme comment contre d dans de début
dehors déjà depuis derrière des dès deux devant dit dire doit doivent donc dont du durant elle elles en
encore enfin entre envers est et étaient était étant été être eu eux fait faire faut fois font fut grâce hors
ici il ils j je jusqu jusque l la laquelle le lequel les lesquels leur leurs lors lorsque lui m ma mais malgré
me même mêmes mes mettre mieux moi moins mon n ne ni non nos notamment notre nous nouveau nouvelle on ont ou
où par parce parfois parmi pas pendant peu peut peuvent plupart plus plusieurs plutôt pour pourquoi pouvoir
premier première près presque puis puisque qu quand que quel quelle quelles quelque quelques quels qui quoi
s sa sans sauf se selon sera seront ses seulement si sien soit son sont sous souvent sur t ta tandis tant te
tel telle telles tels tes toi ton toujours tous tout toute toutefois toutes très trois trop tu un une va vers
voici voilà vos votre vous vu y
"""

_ES = """
a además ahí ahora al algo alguien algún alguna algunas alguno algunos allí ambos ante antes apenas aquel
aquella aquellas aquellos aquí así aun aún aunque bajo bastante bien cada casi como cómo con contra cual
cuales cualquier cuando cuándo cuanto cuatro cuya cuyo da dado dar de debe deben deber debido decir del demás
dentro desde después dice dicho donde dónde dos durante e el él ella ellas ello ellos en encima entonces entre
era eran es esa esas ese eso esos esta está estaba estado están estar estas este esto estos fue fueron fuera
gran grandes ha haber había habían hace hacer hacia han hasta hay he hecho hizo hoy incluso la las le les lo
los luego más me mediante mejor menos mi mientras mis misma mismas mismo mismos mucha muchas mucho muchos muy
nada ni ningún ninguna ninguno no nos nosotros nuestra nuestras nuestro nuestros nueva nuevo nunca o os otra
otras otro otros para parte pero poca poco podemos podría porque por primer primera primero pueda puede
pueden pues que qué quien quién quienes sea sean según segunda ser será serán si sí sido siempre siendo sin
sino so sobre solo sólo son su sus tal también tampoco tan tanto te tenemos tener tenía ti tiene tienen toda
todas todavía todo todos tras tres tu tus un una unas uno unos usted ustedes va vamos varias varios veces ver
vez y ya yo
"""

_IT = """
a abbiamo ad agli ai al alcuna alcune alcuni all alla alle allo allora altra altre altri altro anche ancora
avere aveva avevano ben bene c che chi ci cioè circa coi col come con contro così cui da dagli dai dal dall
dalla dalle dallo degli dei del dell della delle dello dentro di dopo dove due dunque durante e è ed entro era
erano essendo essere fa fare fatto fino fra fu furono già gli grande ha hai hanno ho i il in infatti inoltre
invece io l la le lei li lo loro lui ma maggior me meno mentre mi mia mie miei mio molta molte molti molto ne
negli nei nel nell nella nelle nello neppure nessun nessuna nessuno no noi non nostra nostre nostri nostro
nulla nuova nuovo o od ogni ognuno oltre oppure ora per perché però più poco poi poiché possono potrebbe
presso prima primo proprio può qual quale quali qualche quando quanto quasi quella quelle quelli quello questa
queste questi questo qui quindi sarà saranno se sé secondo sei sempre senza si sia siamo siano solo sono sopra
sotto sta stata state stati stato stesso su sua sue sugli sui sul sull sulla sulle sullo suo suoi tale tali
tanto te ti tra tre troppo tu tua tue tutta tuttavia tutte tutti tutto un una uno vari verso vi viene voi
vostra vostro
"""

_PT = """
a à acordo agora ainda além algo alguém algum alguma algumas alguns ali ambos ante antes ao aos apenas após
aquela aquelas aquele aqueles aqui as às assim até atrás através bem bom cada cá com como contra cuja cujo da
dado daquele das de debaixo dela delas dele deles demais dentro depois desde dessa desse desta deste deve
devem dia diante disso disto do dois dos durante e é ela elas ele eles em embora enquanto entre era eram essa
essas esse esses esta está estamos estão estar estas estava este estes eu fazer faz foi fora foram grande há
isso isto já la lá lhe lhes lo logo mais mas me mediante meio menos mesma mesmas mesmo mesmos meu meus minha
muita muitas muito muitos na nada não nas nem nenhum nenhuma nessa nesse nesta neste no nos nós nossa nossas
nosso nossos nova novo num numa nunca o onde os ou outra outras outro outros para pela pelas pelo pelos
perante
pode podem poder pois por porque porém portanto pouca pouco primeira primeiro própria próprio quais qual
qualquer quando quanto quase que quem se seja sejam sem sempre sendo ser será serão seu seus si sido sob sobre
somente sua suas tais tal também tampouco tanta tanto tem têm tendo ter teu teve tinha toda todas todavia todo
todos três tu tudo um uma umas uns vai vez você vocês vos
"""

_NL = """
aan af al alle alleen alles als altijd ander andere anders beide ben bent bij binnen boven daar daarbij
daardoor
daarna daarom daarvan dan dat de deze die dit doch doen door dus een eens eerst eerste elk elke en enkele er
erg ervan etc even ge gedaan geen geweest gewoon haar had hadden heb hebben hebt heeft hem hen het hier hij
hoe
hun iemand iets ik in indien is ja je jij jou jouw jullie kan kon konden kunnen langs maar mag me meer meest
men met mij mijn moet moeten mogelijk na naar naast niet niets nieuwe nog nogal nooit nu of om omdat ons onder
ondanks onze ook op over per reeds samen sinds slechts sommige staat steeds te tegen ten ter terwijl tijdens
toch toen tot totdat tussen twee u uit uw van vanaf veel verder vele via volgens voor vooral waar waarbij
waardoor waarom waarvan want waren was wat we weer wel welk welke werd werden wie wij wil willen worden wordt
ze zeer zelf zich zij zijn zo zoals zodat zonder zou zouden zowel zullen
"""

_SV = """
all alla allt alltid andra annan annat att av bara bli blir blev bland de dem den denna deras dess dessa det
detta dig din dina ditt du där därför då efter eftersom ej eller en er ett från före för genom ger ha hade han
hans har hela hennes hon honom hur här i icke inom inte innan in ingen inga inget jag ju kan kunde kom kommer
liksom man med mellan men mer mera mest mig min mina mitt mot mycket måste ned ni nu ny nya när någon något
några och också om oss på redan samma sedan sig sin sina sitt själv ska skall skulle som så sådan sådana två
till trots under upp ut utan vad var vara varit varje vara vem vi vid vilka vilken vilket vår våra vårt än är
åt över även
"""

_RU = """
а без более больше будет будут бы был была были было быть в вам вас весь во вот все всё всего всех вы где да
даже для до его ее её если есть ещё еще же за здесь и из или им их к как какой когда который которая которое
которые которых кто ли либо лишь между меня мне много можно может мы на над надо наш не него нее неё некоторые
нет ни них но ну о об обычно один одна однако он она они оно от очень перед по под после потом потому почти
при про раз с сам свой свои себя сейчас со так также такие такой там тем то тогда того тоже той только том
тот три тут ты у уже хотя чего чем через что чтобы чье эта эти это этого этой этом этот я
"""

_LISTS = {
    "en": _EN,
    "de": _DE,
    "fr": _FR,
    "es": _ES,
    "it": _IT,
    "pt": _PT,
    "nl": _NL,
    "sv": _SV,
    "ru": _RU,
}
_SETS = {language: frozenset(words.split()) for language, words in _LISTS.items()}

# Characters that mostly bind words in Chinese and Japanese; they end a candidate there.
CJK_FUNCTION_CHARACTERS = frozenset(
    "的了是在和与及或也就都而但不有为以对从到被把这那其之于将等着过们我你他她它很"
)


def stop_words(language: str | None) -> frozenset[str]:
    """Return the stop words of a language in lower case.

    Args:
        language: ISO 639-1 code, or ``None``.

    Returns:
        The language's list together with the English one, because technical documents in every
        language quote English; only the English one for a language without a list.
    """
    if language == "en" or language not in _SETS:
        return _SETS["en"]
    return _SETS[language] | _SETS["en"]


def has_stop_words(language: str | None) -> bool:
    """Return whether there is a written list for the language."""
    return language in _SETS


def guess_stop_words(words: Iterable[str]) -> frozenset[str]:
    """Guess the function words of an unknown language: frequent and short.

    Args:
        words: the text's words in lower case.

    Returns:
        Words of at most four letters that make up at least 0.4 % of the text; empty for a text
        of under 100 words, where frequency says nothing.
    """
    counts = Counter(words)
    total = counts.total()
    if total < 100:
        return frozenset()
    return frozenset(word for word, count in counts.items() if len(word) <= 4 and count >= 0.004 * total)
