"""The words by which the rules (`analysis`) know what a clause does, in six languages."""

from __future__ import annotations

import re

import msgspec


class Language(msgspec.Struct, frozen=True, kw_only=True):
    """One language.

    Attributes:
        code: ISO 639-1.
        words: function words that tell it from the others.
        done: the user has done something.
        exercises: training, without a quantity.
        unreal: denies, plans, imagines or jokes; or it is about someone else or another time of life.
        remember: tells the coach to remember what follows.
        no_request: looks like it, but is not.
        upheaval: changes the picture of the user.
    """

    code: str
    words: frozenset[str]
    done: re.Pattern[str]
    exercises: re.Pattern[str]
    unreal: re.Pattern[str]
    remember: re.Pattern[str]
    no_request: re.Pattern[str]
    upheaval: re.Pattern[str]


def _any(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"(?:{each})" for each in alternatives), re.IGNORECASE)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = Language(
    code="en",
    words=_words(
        "i the and my is you that to of a it was for with me please have just did not am this in on do what "
        "can we how remember today when if because"
    ),
    done=_any(
        r"\b(?:i|we)(?:'ve)?(?: (?:just|also|finally|already|only|have|actually|even|then))* (?:did|done|ran|"
        r"finished|completed|hit|rowed|squatted|deadlifted|benched|lifted|swam|cycled|biked|rode|walked|"
        r"hiked|"
        r"trained|jogged|climbed|pressed|managed|crushed|knocked out|got (?:in|through)|went for|worked out|"
        r"made it through|skipped rope|danced|boxed|played)\b",
        r"^\W*(?:just |today:? |yesterday:? |this morning:? )*(?:did|ran|finished|completed|done|rowed|"
        r"squatted|"
        r"deadlifted|benched|swam|cycled|biked|walked|hiked|knocked out|crushed|got in)\b",
        r"^\W*(?:today|yesterday|this morning|workout|session|log)\s*:",
        r"\b(?:done|complete|completed|finished|in the bag|in the books)\b|\bnew pr\b|"
        r"^\W*(?:easy|hard|long|played|got|hit|swam|rode)\b",
    ),
    exercises=_any(
        r"\b(?:squats?|deadlifts?|bench(?:es)?|press(?:es)?|rows?|pull-?ups?|push-?ups?|burpees|lunges|"
        r"planks?|"
        r"run|swim|ride|hike|yoga|pilates|crossfit|wod|workout|training|intervals|cardio|leg day|5k|10k|"
        r"marathon|"
        r"football|soccer|tennis|basketball|spinning|mobility)\b"
    ),
    unreal=_any(
        r"n't\b|\bdid not\b|\bhave not\b|\bnever\b|\bno (?:training|workout|run|session|squats)\b|"
        r"\bwithout\b|"
        r"\binstead of\b|\bskipped (?:the|my|leg|training)\b|\bnot a single\b|\bzero\b",
        r"\b(?:should|would|could|will|shall|might|may|wanna|gonna)\b|\b(?:i|we)'(?:ll|d)\b|"
        r"\b(?:want|going|plan\w*|hope|hoping|intend|trying|about|supposed|used) to\b|\btomorrow\b|"
        r"\bnext (?:week|time|"
        r"month)\b|\bif (?:i|we|you)\b|\bwish\b|\balmost\b|\bwhat if\b|\bimagine\b",
        r"\b(?:give|suggest|write|create|make|show|recommend|send|tell) (?:me|us)\b|\bi need\b|\bhow to\b",
        r"\bdream\w*\b|\bkidding\b|\bjoking\b|\bjk\b|\blol\b|\bin my head\b|\bon the couch\b|"
        r"\bto the fridge\b|"
        r"\bremote\b|\bpizza\b|\bsaid\b|\bsays\b|\bwrote\b|\bcalled\b|\bgame\b.*\b(?:console|video)\b",
        r"\b(?:years? ago|last year|back then|as a kid|when i was|in high school|in college|in (?:19|"
        r"20)\d\d)\b",
        r"\bmy (?:\w+ )?(?:friend|wife|husband|brother|sister|dad|mom|mother|father|son|daughter|boss|"
        r"neighbou?r|"
        r"partner|buddy|dog|colleague)\b(?! and (?:i|me)\b)",
    ),
    remember=_any(
        r"(?:\bplease |\b(?:can|could|would|will) you (?:please )?|^\W*(?:and |also |but |oh,? )?)"
        r"(?:remember|memori[sz]e|note(?: down)?|keep in mind|bear in mind|make a note|save|store|do(?:n't|"
        r" not) "
        r"forget)(?: please)?(?: (?:that|this|for (?:the future|next time|later)|to memory))*\b[:,]?",
        r"\byou should (?:remember|know|keep in mind) that\b",
        r"\bfor future reference\b[:,]?",
        r"\bi(?:'d| would) like you to remember(?: that)?\b|\bi want you to remember(?: that)?\b",
        r"\bfrom now on\b[:,]?",
    ),
    no_request=_any(
        r"\bdo you (?:still )?remember\b|\bi (?:still |do |can )?remember\b|\bremember (?:when|the time|"
        r"how|what|where|"
        r"who|why|if|me\b\?)|\b(?:don't|do not|needn't|no need to|don't have to|need not) (?:have to |"
        r"need to )?"
        r"(?:remember|save|note|store|memori[sz]e|keep)\b|\bremind\b|\bnever mind\b|\bsave (?:me|money|"
        r"time|energy)\b|"
        r"\bnote(?:book|s\b)|\bcan('t| not) remember\b|\bstore (?:sells|has)\b|\bdon't forget to\b"
    ),
    upheaval=_any(
        r"\b(?:devastated|heartbroken|depressed|burned out|burnt out|hopeless|diagnosed|surgery|hospital|"
        r"pregnant|"
        r"divorce|passed away|ruptured|dislocated|concussion|panic attacks?)\b|\b(?:tore|torn|broke|"
        r"fractured) my\b|"
        r"\blost my job\b|\bgiving up\b|\bmy (?:mother|father|dad|mom|wife|husband) died\b"
    ),
)

GERMAN = Language(
    code="de",
    words=_words(
        "ich und der die das nicht ist mein meine du dir mir heute habe hab bin bitte dass zu mit auf ein "
        "eine "
        "war wie was gestern für von den es wenn weil"
    ),
    done=_any(
        r"\b(?:ich|wir)\b[^,]*\b(?:gemacht|gelaufen|geschafft|absolviert|trainiert|geschwommen|gerudert|"
        r"gehoben|"
        r"gefahren|gejoggt|beendet|gewandert|gedrückt|gestemmt|geradelt|gespielt|geklettert)\b",
        r"\b(?:habe|hab|bin|haben|sind)\b[^,]*\b(?:gemacht|gelaufen|geschafft|absolviert|trainiert|"
        r"geschwommen|gerudert|"
        r"gefahren|gejoggt|gewandert|gedrückt|gespielt)\b",
        r"^\W*(?:gerade|heute|eben|gestern|soeben)\b.*\b(?:gemacht|gelaufen|geschafft|absolviert|trainiert|"
        r"geschwommen|"
        r"gefahren|gejoggt|beendet|hinter mir)\b",
        r"^\W*(?:heute|gestern|training)\s*:",
        r"\b(?:geschafft|erledigt|absolviert)\b|\bwar(?:en)? (?:ich|wir)\b.*\b(?:schwimmen|laufen|joggen|"
        r"wandern|klettern|rudern|radfahren)\b|\b(?:ich|wir) war(?:en)?\b.*\b(?:schwimmen|laufen|joggen|"
        r"wandern)\b",
    ),
    exercises=_any(
        r"kniebeug|kreuzheb|bankdrück|klimmz|liegest|rudern|lauf|training|einheit|yoga|schwimm|radfahr|"
        r"intervall|"
        r"\bburpees\b|\bkrafttraining\b|\bhalbmarathon\b|\bfußball\b"
    ),
    unreal=_any(
        r"\bnicht\b|\bkein\w*\b|\bnie\b|\bohne\b|\bstatt\b|\bnichts\b",
        r"\b(?:werde|werden|will|wollte|möchte|sollte|soll|könnte|würde|hätte|wäre|plane|vor ?habe|muss)\b|"
        r"\bmorgen "
        r"(?:früh|abend|mach|lauf|geh)|\bmorgen\b(?! (?:gelaufen|gemacht))|\bnächste\w*\b|\bwenn ich\b|"
        r"\bfast\b|\bbeinahe\b",
        r"\bgeträumt\b|\btraum\b|\bscherz\b|\bhaha\b|\bspaß\b|\bsofa\b|\bkühlschrank\b|\bsagt\w*\b",
        r"\bvor \w+ jahren\b|\bletztes jahr\b|\bfrüher\b|\bals kind\b|\bdamals\b",
        r"\bmein(?:e)? (?:freund\w*|frau|mann|bruder|schwester|vater|mutter|sohn|tochter|chef|nachbar\w*|"
        r"hund|kolleg\w*)\b",
    ),
    remember=_any(
        r"(?:\bbitte |\bkannst du (?:dir )?(?:bitte )?|^\W*(?:und |auch )?)(?:merk(?:e)? dir|behalte?|"
        r"notier(?:e)?|speicher(?:e)?|"
        r"vergiss nicht|denk daran|merken|notieren)(?: bitte)?(?: (?:dir|im kopf))*[:,]?(?: dass\b)?",
        r"\bmerk(?:e)? dir(?: bitte)?[:,]?(?: dass\b)?",
        r"\bdu solltest (?:wissen|dir merken)[:,]?(?: dass\b)?",
        r"\bab jetzt\b[:,]?|\bab sofort\b[:,]?",
    ),
    no_request=_any(
        r"\b(?:erinnerst|weißt) du\b|\bich (?:erinnere|weiß)\b|\berinner(?:e)? mich\b|"
        r"\bmusst du (?:dir )?nicht\b|"
        r"\bbrauchst du (?:dir )?nicht\b|\bnicht (?:zu )?merken\b|\bkann(?:st)? (?:ich )?mir\b|"
        r"\bwas hast du\b"
    ),
    upheaval=_any(
        r"\b(?:verzweifelt|am boden zerstört|diagnos\w+|operation|operiert|krankenhaus|schwanger|"
        r"depressi\w+|gestorben|"
        r"scheidung|burnout|kreuzbandriss|hoffnungslos)\b|\b(?:gerissen|gebrochen)\b|\bjob verloren\b|"
        r"\bgebe auf\b"
    ),
)

SPANISH = Language(
    code="es",
    words=_words(
        "el la los las y que no es mi de en un una hoy he hice por favor con para me te soy muy ayer como "
        "estoy "
        "del recuerda"
    ),
    done=_any(
        r"\b(?:he|hemos)(?: \w+)? (?:hecho|corrido|terminado|completado|entrenado|nadado|levantado|"
        r"caminado|remado|acabado)\b",
        r"\b(?:hice|hicimos|corrí|corrimos|terminé|completé|entrené|nadé|levanté|caminé|remé|acabé|"
        r"salí a correr|pedaleé|"
        r"logré|acabo de (?:hacer|correr|terminar|entrenar|nadar))\b",
        r"^\W*(?:hoy|ayer|entrenamiento)\s*:",
        r"\b(?:hecho|terminad[oa]|completad[oa])\s*[:!]",
    ),
    exercises=_any(
        r"sentadilla|peso muerto|press|dominada|flexion|remo|correr|carrera|entren|yoga|nataci|nadar|bici|"
        r"burpee|plancha|"
        r"zancada|series\b|intervalos|caminata|fútbol"
    ),
    unreal=_any(
        r"\bno\b|\bnunca\b|\bsin\b|\bnada\b|\ben vez de\b|\bni una?\b",
        r"\b(?:voy a|vamos a|quiero|quisiera|debería|podría|haré|correré|entrenaré|planeo|pienso|mañana|"
        r"próxim\w+|si hago|"
        r"ojalá|casi|tengo que|hubiera)\b",
        r"\bsoñ\w+\b|\bbroma\b|\bjaja\w*\b|\bsofá\b|\bnevera\b|\bdijo\b|\bdice\b",
        r"\bhace \w+ años\b|\bel año pasado\b|\bde (?:niñ[oa]|joven)\b",
        r"\bmi (?:amig[oa]|mujer|marido|esposa|esposo|herman[oa]|padre|madre|hij[oa]|jefe|vecin[oa]|perro)\b",
    ),
    remember=_any(
        r"(?:\bpor favor,? |\bpuedes |\bpodrías |^\W*(?:y |también )?)(?:recuerda|recordar|acuérdate de|"
        r"ten en cuenta|anota|"
        r"apunta|guarda|memoriza|no olvides)(?: por favor)?[:,]?(?: que\b)?",
        r"\bquiero que recuerdes(?: que)?\b|\ba partir de ahora\b[:,]?|\bdeberías saber que\b",
    ),
    no_request=_any(
        r"\b(?:te acuerdas|recuerdas|recuerdo|me acuerdo)\b|\bno (?:hace falta|tienes que|"
        r"necesitas) (?:que )?(?:recuerd|record|"
        r"guard|anot)\w*|\brecuérdame\b|\brecuerda (?:cuando|qué|cómo)\b|\bno recuerdes\b"
    ),
    upheaval=_any(
        r"\b(?:destrozad[oa]|deprimid[oa]|diagnostic\w+|operación|operaron|hospital|embarazada|divorcio|"
        r"murió|falleció|"
        r"desesperad[oa])\b|\bme (?:rompí|he roto|desgarré)\b|\bperdí mi trabajo\b"
    ),
)

FRENCH = Language(
    code="fr",
    words=_words(
        "le la les et je que ne pas est mon ma de en un une ai j fait pour avec suis hier ce du des vous "
        "tu au sur "
        "séance souviens d'"
    ),
    done=_any(
        r"\b(?:j'ai|nous avons|on a)(?: \w+)? (?:fait|couru|terminé|fini|complété|nagé|soulevé|marché|"
        r"ramé|réussi|enchaîné|"
        r"pédalé|joué)\b",
        r"\bje (?:viens de|suis allée? (?:courir|nager)) ?(?:faire|courir|terminer|finir|nager)?",
        r"^\W*(?:aujourd'hui|hier|séance)\s*:",
        r"\b(?:terminée?|finie?|faite?)\s*[:!]",
    ),
    exercises=_any(
        r"squat|soulevé de terre|développé|traction|pompe|rameur|cour(?:ir|u|se)|séance|entraînement|yoga|"
        r"nat(?:ation|er)|nager|"
        r"vélo|burpee|gainage|fente|footing|intervalle|foot\b"
    ),
    unreal=_any(
        r"\b(?:n'|ne )\w*\b.*\b(?:pas|jamais|rien|aucun\w*|plus)\b|\bpas\b|\bsans\b|\bau lieu de\b",
        r"\b(?:je vais|on va|veux|voudrais|devrais|pourrais|ferai|courrai|compte|prévois|demain|prochaine?|"
        r"si je|presque|"
        r"aurais|faut que)\b",
        r"\brêvé?\b|\bblague\b|\bplaisant\w+\b|\bmdr\b|\bcanapé\b|\bfrigo\b|\bdit\b",
        r"\bil y a \w+ ans\b|\bl'an(?:née)? derni\w+\b|\bquand j'étais\b|\benfant\b",
        r"\bm(?:on|a) (?:ami\w?|copain|copine|femme|mari|frère|sœur|soeur|père|mère|fils|fille|chef|"
        r"voisine?|chien)\b",
    ),
    remember=_any(
        r"(?:\bs'il (?:te|vous) pla[iî]t,? |\b(?:peux-tu|pouvez-vous|tu peux) |^\W*(?:et |"
        r"aussi )?)(?:souviens-toi|souvenez-vous|"
        r"rappelle-toi|retiens|retenez|retenir|note|notez|noter|mémorise\w*|garde en tête|n'oublie pas|"
        r"te souvenir|te rappeler)"
        r"(?: bien)?[:,]?(?: que\b| qu')?",
        r"\bà partir de maintenant\b[:,]?|\bdésormais\b[:,]?|\btu dois savoir que\b",
    ),
    no_request=_any(
        r"\b(?:te souviens-tu|tu te souviens|est-ce que tu te|je me souviens|je me rappelle)\b|"
        r"\bpas besoin de\b|"
        r"\brappelle-moi\b|\bsouviens-toi (?:quand|du jour)\b|\bne (?:retiens|note) pas\b|\bte souviens\b"
    ),
    upheaval=_any(
        r"\b(?:dévasté\w?|effondré\w?|déprimé\w?|diagnosti\w+|opération|opérée?|hôpital|enceinte|divorce|"
        r"décédée?|désespéré\w?)\b|"
        r"\bje me suis (?:cassé|déchiré|rompu)\b|\bperdu mon (?:travail|emploi)\b"
    ),
)

ITALIAN = Language(
    code="it",
    words=_words(
        "il lo gli e che non è mio mia di in un una oggi ho fatto per favore con sono molto ieri come "
        "ricorda "
        "del della mi ti ricordati le"
    ),
    done=_any(
        r"\b(?:ho|abbiamo)(?: (?:appena|anche|già|finalmente))? (?:fatto|corso|finito|completato|nuotato|"
        r"sollevato|camminato|"
        r"remato|pedalato|giocato)\b|\bmi sono allenat[oa]\b|\bsono andat[oa] a (?:correre|nuotare)\b",
        r"^\W*(?:oggi|ieri|allenamento)\s*:",
    ),
    exercises=_any(
        r"squat|stacc[ho]i?|panca|trazion|flession|rematore|cors[ae]|correre|allena|yoga|nuot|bici|burpee|"
        r"plank|affond|ripetut"
    ),
    unreal=_any(
        r"\bnon\b|\bmai\b|\bsenza\b|\bniente\b|\binvece di\b",
        r"\b(?:voglio|vorrei|dovrei|potrei|farò|correrò|penso di|domani|prossim\w+|se faccio|quasi|devo|"
        r"avrei)\b",
        r"\bsognat\w+\b|\bscherz\w+\b|\bahah\w*\b|\bdivano\b|\bfrigo\b|\bdetto\b|\bdice\b",
        r"\b\w+ anni fa\b|\bl'anno scorso\b|\bda (?:bambin[oa]|giovane)\b",
        r"\b(?:il mio|la mia|mi[oa]) (?:amic[oa]|moglie|marito|fratello|sorella|padre|madre|figli[oa]|capo|"
        r"vicin[oa]|cane)\b",
    ),
    remember=_any(
        r"(?:\bper favore,? |\bpuoi |\bpotresti |^\W*(?:e |anche )?)(?:ricordati|ricordare|ricorda|"
        r"tieni (?:presente|a mente)|annota|"
        r"segnati|memorizza|non dimenticare|salva)(?: per favore)?[:,]?(?: che\b)?",
        r"\bd'ora in poi\b[:,]?|\bda ora in poi\b[:,]?|\bdevi sapere che\b",
    ),
    no_request=_any(
        r"\bti ricordi\b|\bmi ricordo\b|\bnon (?:serve|c'è bisogno|devi|occorre) (?:che )?(?:ricord|annot|"
        r"memoriz|salv)\w*|"
        r"\bricordami\b|\bricorda quando\b"
    ),
    upheaval=_any(
        r"\b(?:distrutt[oa]|depress[oa]|diagnos\w+|operazione|operat[oa]|ospedale|incinta|divorzio|"
        r"mort[oa]|disperat[oa])\b|"
        r"\bmi sono (?:rott[oa]|strappat[oa])\b|\bperso il lavoro\b"
    ),
)

PORTUGUESE = Language(
    code="pt",
    words=_words(
        "o os as e que não é meu minha de em um uma hoje fiz por favor com para sou muito ontem como "
        "lembra lembre "
        "do da eu você no na acabei"
    ),
    done=_any(
        r"\b(?:fiz|fizemos|corri|terminei|completei|treinei|nadei|levantei|caminhei|remei|pedalei|consegui|"
        r"joguei|"
        r"acabei de (?:fazer|correr|terminar|treinar|nadar))\b",
        r"^\W*(?:hoje|ontem|treino)\s*:",
    ),
    exercises=_any(
        r"agachamento|levantamento terra|supino|barra fixa|flex|remada|corr(?:er|ida)|treino|yoga|ioga|"
        r"nata|nadar|bicicleta|"
        r"burpee|prancha|afundo|séries|futebol"
    ),
    unreal=_any(
        r"\bnão\b|\bnunca\b|\bsem\b|\bnada\b|\bem vez de\b",
        r"\b(?:vou|vamos|quero|queria|deveria|poderia|farei|correrei|pretendo|amanhã|próxim\w+|se eu|quase|"
        r"tenho que|teria)\b",
        r"\bsonh\w+\b|\bbrincadeira\b|\bbrincando\b|\bkkk+\b|\bsofá\b|\bgeladeira\b|\bdisse\b|\bdiz\b",
        r"\bhá \w+ anos\b|\bano passado\b|\bquando era\b|\bcriança\b",
        r"\b(?:o meu|a minha|meu|minha) (?:amig[oa]|mulher|marido|esposa|irmã[o]?|pai|mãe|filh[oa]|chefe|"
        r"vizinh[oa]|cachorro)\b",
    ),
    remember=_any(
        r"(?:\bpor favor,? |\bpode |\bpoderia |^\W*(?:e |também )?)(?:lembra(?:-te|-se)?|lembre(?:-se)?|"
        r"lembrar|anota|anote|guarda|"
        r"guarde|memoriza|memorize|tenha em mente|"
        r"não (?:te )?esqueças?)(?: por favor)?(?: de)?[:,]?(?: que\b)?",
        r"\ba partir de agora\b[:,]?|\bvocê deve saber que\b",
    ),
    no_request=_any(
        r"\b(?:você se lembra|lembras-te|te lembras|eu lembro|me lembro|lembro-me)\b|"
        r"\bnão precisa(?:s)? (?:lembrar|guardar|anotar)\b|"
        r"\blembra-me\b|\bme lembre\b|\blembra quando\b|\bvocê lembra\b"
    ),
    upheaval=_any(
        r"\b(?:arrasad[oa]|deprimid[oa]|diagnos\w+|cirurgia|hospital|grávida|divórcio|morreu|faleceu|"
        r"desesperad[oa])\b|"
        r"\b(?:rompi|quebrei|rasguei) (?:o|a|meu|minha)\b|\bperdi (?:o|meu) emprego\b"
    ),
)

LANGUAGES = (ENGLISH, GERMAN, SPANISH, FRENCH, ITALIAN, PORTUGUESE)
"""English first, for texts of no known language."""
