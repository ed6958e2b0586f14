"""The vocabulary of the generated text: word tables and a generator of made-up names."""

from random import Random
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


COLOURS: Final[dict[str, str]] = {
    "banana": "yellow", "lemon": "yellow", "sun": "yellow", "canary": "yellow",
    "sunflower": "yellow", "grass": "green", "frog": "green", "leaf": "green", "lime": "green",
    "cucumber": "green", "pea": "green", "cactus": "green", "sky": "blue", "sea": "blue",
    "sapphire": "blue", "blueberry": "blue", "tomato": "red", "cherry": "red",
    "strawberry": "red", "ruby": "red", "fire engine": "red", "rose": "red", "blood": "red",
    "orange": "orange", "carrot": "orange", "pumpkin": "orange", "snow": "white",
    "milk": "white", "swan": "white", "salt": "white", "cloud": "white", "coal": "black",
    "crow": "black", "night": "black", "tar": "black", "raven": "black", "plum": "purple",
    "lavender": "purple", "aubergine": "purple", "flamingo": "pink", "pig": "pink",
    "chocolate": "brown", "bear": "brown", "coffee": "brown", "wood": "brown",
    "elephant": "grey", "ash": "grey", "mouse": "grey", "gold": "gold", "silver": "silver",
}  # fmt: skip
"""Thing -> its colour."""

MASS_NOUNS: Final = frozenset({
    "grass", "snow", "milk", "salt", "coal", "tar", "blood", "lavender", "chocolate", "coffee",
    "wood", "ash", "gold", "silver",
})  # fmt: skip
"""Things of COLOURS that take no article."""

UNIQUE_NOUNS: Final = frozenset({"sun", "sky", "sea", "night"})
"""Things of COLOURS that take *the*."""

OPPOSITES: Final[tuple[tuple[str, str], ...]] = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"),
    ("black", "white"), ("open", "closed"), ("fast", "slow"), ("high", "low"), ("happy", "sad"),
    ("old", "young"), ("rich", "poor"), ("wet", "dry"), ("full", "empty"), ("early", "late"),
    ("hard", "soft"), ("light", "dark"), ("loud", "quiet"), ("near", "far"), ("strong", "weak"),
    ("thick", "thin"), ("true", "false"), ("good", "bad"), ("first", "last"), ("in", "out"),
    ("on", "off"), ("long", "short"), ("clean", "dirty"), ("safe", "dangerous"),
    ("sweet", "sour"), ("wide", "narrow"), ("win", "lose"), ("buy", "sell"), ("start", "stop"),
    ("push", "pull"), ("love", "hate"), ("north", "south"), ("east", "west"), ("yes", "no"),
    ("front", "back"),
)  # fmt: skip

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip

ANIMALS: Final = _words("""
    fox bear owl cat dog horse mouse rabbit frog wolf duck goat sheep lion tiger parrot turtle
    hen bee crow deer whale seal snail otter badger hedgehog swan pony camel
""")
PLACES: Final = _words("""
    forest river garden castle village harbour mountain meadow island library market bridge
    tower valley kitchen school beach cave station field
""")
OBJECTS: Final = _words("""
    key lamp book map ring bell hat coin stone letter basket drum kite boat clock box cup rope
    mirror flute ladder umbrella candle spoon blanket
""")
PRODUCTS: Final = _words("""
    bicycle guitar camera chair table phone laptop jacket backpack kettle printer sofa helmet
    tent keyboard monitor bottle wallet watch scarf
""")
FRUITS: Final = _words("""
    apple pear plum cherry banana lemon orange peach grape melon fig lime
""")
JOBS: Final = _words("""
    baker pilot teacher nurse farmer painter sailor doctor cook writer singer driver builder
    lawyer engineer gardener judge tailor miller librarian
""")
WEATHER: Final = ("sunny", "rainy", "cloudy", "windy", "snowy", "foggy", "stormy", "clear")
REAL_CITIES: Final = _words("""
    Paris London Berlin Madrid Rome Vienna Oslo Tokyo Delhi Cairo Lima Boston Sydney Toronto
    Dublin Prague Athens Lisbon Chicago Zurich
""")
COMMON: Final = _words("""
    the be to of and in that have it for not on with as you do at this but his by from they we
    say her she or an will my one all would there their what so up out if about who get which go
    me when make can like time no just him know take people into year your good some could them
    see other than then now look only come its over think also back after use two how our work
    first well way even new want because any these give day most us great between need large
    often hand small place while found live where house much here keep never last let thought
    city tree cross farm story saw far sea draw left late run press close night real life few
    north open seem together next white children begin got walk example ease paper group always
    music those both mark until mile river car feet care second enough plain girl usual young
    ready above ever red list though feel talk bird soon body dog family direct pose leave song
    measure door product black short number class wind question happen complete ship area half
    rock order fire south problem piece told knew pass since top whole king space heard best
    hour better true during hundred five remember step early hold west ground interest reach
    fast verb sing listen six table travel less morning ten simple several toward war lay
    against pattern slow center love person money serve appear road map rain rule govern pull
    cold notice voice unit power town fine certain fly fall lead cry dark machine note wait plan
    figure star box noun field rest correct able pound done beauty drive stood contain front
    teach week final gave green quick develop ocean warm free minute strong special mind behind
    clear tail produce fact street inch multiply nothing course stay wheel full force blue
    object decide surface deep moon island foot system busy test record boat common gold
    possible plane dry wonder laugh thousand ago ran check game shape hot miss brought heat snow
    tire bring yes distant fill east paint language among grand ball yet wave drop heart present
    heavy dance engine position arm wide sail material size vary settle speak weight general ice
    matter circle pair include divide felt perhaps pick sudden count square reason length
    represent art subject region energy hunt probable bed brother egg ride cell believe fraction
    forest sit race window store summer train sleep prove lone leg exercise wall catch mount
    wish sky board joy winter written wild instrument kept glass grass cow job edge sign visit
    past soft fun bright gas weather month million bear finish happy hope flower clothe strange
    gone jump baby eight village meet root buy raise solve metal whether push seven paragraph
    third shall held hair describe cook floor either result burn hill safe cat century consider
    type law bit coast copy phrase silent tall sand soil roll temperature finger industry value
    fight lie natural view sense capital chair danger fruit rich thick soldier process operate
    practice separate difficult doctor please protect noon crop modern element hit student
    corner party supply locate ring character insect caught period indicate radio spoke atom
    human history effect electric expect bone rail imagine provide agree thus gentle woman
    captain guess necessary sharp wing create neighbour wash bat rather crowd corn compare poem
    string bell depend meat rub tube famous dollar stream fear sight thin triangle planet hurry
    chief colony clock mine tie enter major fresh search send yellow gun allow print dead spot
    desert suit current lift rose arrive master track parent shore division sheet substance
    favour connect post spend chord fat glad original share station bread charge proper bar
    offer segment duck instant market degree chick dear enemy reply drink occur support speech
    nature range steam motion path liquid log meant quotient teeth shell neck model adapter
    router server client engine token prompt answer invoice refund policy account password
    customer ticket delivery warranty manual office manager company project budget report
    meeting salary contract product service support feature version release update
""")
"""Words of everyday English, so that most tokens a user types have been seen."""

WORDS: Final = tuple(
    sorted(
        {w for w in (*COMMON, *ANIMALS, *PLACES, *OBJECTS, *PRODUCTS, *FRUITS, *JOBS) if len(w) > 2}
    )
)
"""The words that tasks pick from."""

_ONSETS: Final = _words("""
    b br c ch d dr f fl g gl gr h j k kl l m n p pl qu r s sh sk st t th tr v w x y z zh
""")
_NUCLEI: Final = _words("a e i o u a e i o u ai ea ia ou ue y")
_CODAS: Final = (
    "",
    "",
    "",
    "",
    "n",
    "r",
    "l",
    "s",
    "m",
    "x",
    "th",
    "nd",
    "rk",
    "lt",
    "ck",
    "sh",
    "t",
    "d",
)
_ENDINGS: Final = (
    "",
    "",
    "",
    "ia",
    "land",
    "or",
    "is",
    "ton",
    "mar",
    "burg",
    "wick",
    "a",
    "en",
    "os",
    "ville",
)


def name(rng: Random) -> str:
    """A made-up proper name of two or three syllables, such as *Zorvania*."""
    syllables = [
        rng.choice(_ONSETS) + rng.choice(_NUCLEI) + rng.choice(_CODAS)
        for _ in range(rng.choice((1, 2, 2)))
    ]
    return (
        "".join(syllables) + rng.choice(_NUCLEI)[0] * (len(syllables) == 1) + rng.choice(_ENDINGS)
    ).capitalize()


def city(rng: Random) -> str:
    """A real or a made-up city."""
    return rng.choice(REAL_CITIES) if rng.random() < 0.4 else name(rng)


def gibberish(rng: Random) -> str:
    """A string of 2 to 8 random letters and digits, such as *k7qz*."""
    return "".join(
        rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(rng.randint(2, 8))
    )


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun
