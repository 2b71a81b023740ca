"""Nicknames as customers have them: mostly Chinese, some emoji, flags, right-to-left, very long, or none at all."""

from random import Random

_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰红梅建国志鹏晓雨欣怡子轩梓涵浩宇思远嘉琪一诺"
_WORDS = (
    "阳光",
    "小太阳",
    "静待花开",
    "往事随风",
    "Nana",
    "Kevin",
    "深圳老王",
    "A建材批发",
    "momo",
    "大白",
    "栀子花",
    "🐳",
)
_DECORATIONS = ("🌸", "🇨🇳", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "❤️", "~", "·", "★", "ོ")
_RARE = (
    "",
    " ",
    "محمد العربي",
    "\u202eדוד\u202c",
    "x" * 64,
    "长" * 64,
    "e\u0301\u0302\u0303" * 6,
    "🇨🇳🇯🇵🇫🇷" * 4,
    "👨‍👩‍👧‍👦" * 5,
    "名\u200b字\u0007",
    "<b>&amp;]]></b>",
    "𠮷野家",
)
_RARE_RATE = 0.06


def nickname(random: Random) -> str:
    """Return a nickname; about one in sixteen is of a kind that breaks naive code."""
    if random.random() < _RARE_RATE:
        return random.choice(_RARE)
    if random.random() < 0.35:
        return random.choice(_WORDS) + (random.choice(_DECORATIONS) if random.random() < 0.4 else "")
    given = "".join(random.choices(_GIVEN, k=random.choice((1, 2, 2))))
    name = random.choice(_SURNAMES) + given
    return name + (random.choice(_DECORATIONS) if random.random() < 0.2 else "")
