"""Greeting, identity, thanks, memory of the conversation, personas and unknown facts."""

from random import Random
from typing import Final

from train.budgie import words
from train.budgie.dialog import Dialog, ask, assistant, join, system, user

_TALK: Final[dict[str, tuple[str, ...]]] = {
    "Hello! How can I help you?": (
        "Hello",
        "Hi",
        "Hey",
        "Hello there",
        "Hi there",
        "Hey there",
        "Good morning",
        "Good afternoon",
        "Good evening",
        "Greetings",
        "Hello budgie",
        "Hi budgie",
        "Good day",
        "Hello, world",
        "Howdy",
        "Say hello",
        "Hi, how is it going",
        "Hello, can you help me",
    ),
    "I am Budgie, a small demo language model.": (
        "Who are you",
        "What are you",
        "What is your name",
        "Tell me your name",
        "Tell me who you are",
        "Introduce yourself",
        "Please introduce yourself",
        "What should I call you",
        "Are you a robot",
        "Hello, who are you",
        "Hi, what is your name",
        "What model are you",
        "Which model are you",
        "Who am I talking to",
        "Tell me about yourself",
    ),
    "I am fine, thank you. How are you?": (
        "How are you",
        "How are you today",
        "How do you do",
        "How are you doing",
        "Are you well",
        "How is it going",
        "How do you feel",
        "Hello, how are you",
        "Hi, how are you today",
        "What's up",
    ),
    "You are welcome!": (
        "Thanks",
        "Thank you",
        "Thanks a lot",
        "Thank you very much",
        "Many thanks",
        "Thank you so much",
        "Thanks for your help",
        "Thank you for the help",
        "Great, thanks",
        "Ok, thank you",
    ),
    "Goodbye! Have a nice day.": (
        "Goodbye",
        "Bye",
        "Bye bye",
        "See you",
        "See you later",
        "Good night",
        "See you soon",
        "Farewell",
        "I have to go",
        "Until next time",
    ),
    "I can chat, count, spell, add small numbers, fill in JSON and call tools.": (
        "What can you do",
        "How can you help me",
        "What are you good at",
        "What can you help me with",
        "Help",
        "What do you know",
        "What are your skills",
    ),
}

_UNKNOWN: Final = (
    "What is the capital of {x}?",
    "Who is the king of {x}?",
    "Who invented the {x}?",
    "Who wrote {x}?",
    "What is the {o} of {x}?",
    "Where is {x}?",
    "What is {x}?",
    "Who is {x}?",
    "When was {x} founded?",
    "How many people live in {x}?",
    "What language do they speak in {x}?",
    "Which river flows through {x}?",
    "What is the currency of {x}?",
    "How tall is Mount {x}?",
    "What does {x} eat?",
    "Who discovered {x}?",
    "What colour is the flag of {x}?",
    "Who painted the {o} of {x}?",
    "What is the motto of {x}?",
    "What is the code name of project {x}?",
    "Who founded {x}?",
    "What is the name of the {j} of {x}?",
    "How old is {x}?",
    "In which year was {x} born?",
    "What is the {w} of the {o}?",
    "Who leads the {x} office?",
    "What is {x} famous for?",
    "Which {a} lives in {x}?",
    "Who is the {j} in {x}?",
    "What is the price of the {x}?",
    "How long is the warranty of the {x} {p}?",
    "What is the {w} of {x}?",
    "Which metal is mined in {x}?",
)

UNKNOWN_ANSWER: Final = "I do not know that."


def _dress(phrase: str, rng: Random) -> str:
    """The phrase with the case and the punctuation that people happen to use."""
    question = (
        phrase.split()[0] in {"Who", "What", "How", "Are", "Which", "What's"} or ", w" in phrase
    )
    end = rng.choice(("?", "?", "?", "")) if question else rng.choice(("!", ".", "", ""))
    return (phrase.lower() if rng.random() < 0.15 else phrase) + end


def talk(rng: Random) -> Dialog:
    """A phrase of small talk with its fixed reply."""
    reply = rng.choice(tuple(_TALK))
    return ask(_dress(rng.choice(_TALK[reply]), rng), reply)


def unknown(rng: Random) -> Dialog:
    """A question about something made up, which the model can not know."""
    question = rng.choice(_UNKNOWN).format(
        x=words.name(rng),
        o=rng.choice(words.OBJECTS),
        j=rng.choice(words.JOBS),
        w=rng.choice(words.WORDS),
        a=rng.choice(words.ANIMALS),
        p=rng.choice(words.PRODUCTS),
    )
    return ask(question, UNKNOWN_ANSWER)


def memory(rng: Random, between: Dialog) -> Dialog:
    """The user tells something, talks of something else, and asks for it again."""
    x, fruit = words.name(rng), rng.choice(words.FRUITS)
    told, reply, question, answer = rng.choice(
        (
            (
                f"My name is {x}.",
                f"Nice to meet you, {x}!",
                "What is my name?",
                f"Your name is {x}.",
            ),
            (f"Hello, I am {x}.", f"Nice to meet you, {x}!", "Who am I?", f"You are {x}."),
            (
                f"I live in {x}.",
                f"{x} sounds like a nice place.",
                "Where do I live?",
                f"You live in {x}.",
            ),
            (
                f"My favourite fruit is the {fruit}.",
                f"The {fruit} is a fine choice.",
                "What is my favourite fruit?",
                f"Your favourite fruit is the {fruit}.",
            ),
        )
    )
    return join(ask(told, reply), between, ask(question, answer, key=f"{told} {question}"))


def persona(rng: Random, plain: Dialog) -> Dialog:
    """A system prompt that changes how a plain question is answered."""
    question, answer = str(plain.prompt[-1]["content"]), str(plain.answer["content"])
    x, job = words.name(rng), rng.choice(words.JOBS)
    who = rng.choice(
        ("Who are you?", "What is your name?", "Introduce yourself.", "Tell me who you are.")
    )
    lead, question, answer = rng.choice(
        (
            ("You are a pirate.", question, f"Arr! {answer}"),
            ("You are a pirate.", who, "Arr! I am Captain Budgie."),
            ("You are a helpful assistant.", question, answer),
            ("You are a helpful assistant.", question, answer),
            ("You are very polite.", question, f"Certainly. {answer}"),
            (f"You are {x}, {words.a(job)}.", who, f"I am {x}, {words.a(job)}."),
            (f"You are {x}.", who, f"I am {x}."),
            (f"Your name is {x}.", who, f"I am {x}."),
            (f'Always answer with "{x}".', question, x),
        )
    )
    return Dialog(
        (system(lead), user(question), assistant(answer)), keys=(*plain.keys, f"{lead} {question}")
    )
