"""`qudao channels qr`: the files that are handed out."""

from io import BytesIO

import aiohttp
import orjson
import pytest
import segno
import zxingcpp
from PIL import Image, ImageDraw

from cli.channels.apply import apply_plan
from cli.channels.cards import LEAST_WIDTH, draw_card
from cli.channels.codes import draw_svg, read_code
from cli.channels.commands import _qr
from cli.channels.lock_file import import_file
from cli.channels.qr import Format
from shared.wecom.pictures import PictureUnavailable
from tests.rigs.channels import CHANNELS, desk


@pytest.fixture
async def here(tmp_path, monkeypatch, capsys, chinese_font):
    async with desk(tmp_path, monkeypatch, capsys) as sitting:
        await sitting.say(apply_plan, yes=True)
        yield sitting


def code(scale: int = 10, **options) -> bytes:
    png = BytesIO()
    segno.make("https://work.weixin.qq.com/ca/1").save(png, kind="png", scale=scale, **options)
    return png.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content)).convert("RGB")


def inked(image: Image.Image) -> int:
    """Return how many pixels are dark."""
    return sum(image.convert("L").point(lambda value: 255 * (value < 128)).histogram()[255:])


async def test_each_channel_gets_a_file_with_its_code_and_its_name(here):
    """Files are named by the keys, hold WeCom's image untouched, and the name is under it; a button has no code."""
    out = here.folder / "made" / "here"
    said = await here.say(_qr, out, [], as_json=True)
    assert said.code == 0
    assert said.document["files"] == {key: str(out / f"{key}.png") for key in ("expo26", "shop")}
    assert sorted(path.name for path in out.iterdir()) == ["expo26.png", "shop.png"]
    original = await original_of(here, "shop")
    card = Image.open(out / "shop.png")
    assert (card.format, card.width) == ("PNG", original.width)
    assert card.crop((0, 0, *original.size)).tobytes() == original.tobytes()
    below = card.crop((0, original.height, *card.size))
    assert inked(below) > 200


async def test_chosen_channels_alone_are_written(here):
    """--channel chooses; one that does not exist, or has no code, is refused with the others."""
    out = here.folder / "qr"
    assert (await here.say(_qr, out, ["shop"])).out == f"1 codes, 1 file written to {out}\n"
    assert [path.name for path in out.iterdir()] == ["shop.png"]
    said = await here.say(_qr, out, ["shp", "button"])
    assert said.code == 2
    assert "did you mean 'shop'?" in said.err
    assert "mini-program button" in said.err


async def test_a_dry_run_writes_nothing(here):
    """--dry-run names the files."""
    out = here.folder / "qr"
    said = await here.say(_qr, out, [], dry_run=True, as_json=True)
    assert list(said.document["files"]) == ["expo26", "shop"]
    assert not out.exists()


async def test_a_channel_without_a_way_is_told_and_the_others_written(here):
    """A channel that was not applied, or has a new state, has no code to hand out yet."""
    here.write(CHANNELS.replace('"Counter"', '"Counter"\nstate = "new"') + '[channels.later]\nname = "Later"\n')
    said = await here.say(_qr, here.folder, [], as_json=True)
    assert (said.code, list(said.document["files"])) == (1, ["expo26"])
    assert said.document["not_applied"] == ["shop", "later"]
    assert "qudao channels apply" in said.err


async def test_an_image_that_cannot_be_had_is_told_and_the_others_written(here):
    """One failure does not cost the other files, and the exit code is 1."""
    lock = await here.lock()
    lock["channels"]["shop"]["qr_code"] = lock["channels"]["shop"]["qr_code"].replace("/wwpic/", "/gone/")
    (here.folder / "gone.json").write_bytes(orjson.dumps(lock))
    assert (await here.say(import_file, here.folder / "gone.json", force=True)).code == 0
    said = await here.say(_qr, here.folder, [], as_json=True)
    assert (said.code, list(said.document["files"])) == (1, ["expo26"])
    assert said.document["failed"] == {"shop": "its QR code cannot be had: HTTP 404"}


async def test_a_folder_that_cannot_be_written_is_told_before_anything_is_fetched(here):
    """A file stands where the folder should be."""
    (here.folder / "taken").write_text("")
    said = await here.say(_qr, here.folder / "taken", [])
    assert said.code == 2
    assert "cannot be written" in said.err


@pytest.mark.parametrize("picture", [b"", b"\x89PNG\r\n\x1a\n", code()[:200], b"\xff\xd8\xff\xe0 no jpeg"])
def test_a_damaged_image_is_refused(picture):
    """What cannot be drawn whole is not handed out."""
    with pytest.raises(PictureUnavailable):
        draw_card(picture, "A")


@pytest.mark.parametrize("size", [(9000, 9000), (1, 4000), (4000, 1)])
def test_an_image_of_no_sensible_size_is_refused(size):
    """A small file may claim to be a very large image, or to be a strip that becomes one when it is enlarged."""
    bomb = BytesIO()
    Image.new("1", size).save(bomb, "PNG")
    with pytest.raises(PictureUnavailable, match=f"{size[0]} x {size[1]}"):
        draw_card(bomb.getvalue(), "A")


def test_a_small_code_is_enlarged_sharply():
    """Every dot becomes a whole number of pixels: no grey between black and white."""
    small = opened(code(scale=3))
    card = opened(draw_card(code(scale=3), "A"))
    factor = -(-LEAST_WIDTH // small.width)
    area = card.crop((0, 0, small.width * factor, small.height * factor))
    assert {colour for _, colour in area.getcolors()} == {(0, 0, 0), (255, 255, 255)}
    assert area.resize(small.size, Image.Resampling.NEAREST).tobytes() == small.tobytes()


def test_a_transparent_ground_is_white():
    """A code without a ground of its own can be scanned on paper."""
    card = opened(draw_card(code(light=None), "A"))
    assert card.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.usefixtures("chinese_font")
@pytest.mark.parametrize("name", ["A", "展会26", "上海国际展会" * 5, "W" * 30, "Counter by the entrance hall B"])
def test_every_name_fits(name):
    """The longest names are broken into lines; nothing runs over the edges."""
    picture = code(scale=13)
    height = opened(picture).height
    card = opened(draw_card(picture, name))
    assert card.width == opened(picture).width
    left = card.crop((0, height, 5, card.height))
    right = card.crop((card.width - 5, height, *card.size))
    bottom = card.crop((0, card.height - 3, *card.size))
    assert inked(left) == inked(right) == inked(bottom) == 0
    assert inked(card.crop((0, height, *card.size))) > 50


def read(image: Image.Image) -> list[str]:
    return [found.text for found in zxingcpp.read_barcodes(image)]


async def original_of(here, key: str) -> Image.Image:
    url = (await here.lock())["channels"][key]["qr_code"]
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return opened(await response.read())


@pytest.mark.parametrize(("size", "centimetres"), [("8cm", 8.0), ("35mm", 3.5), ("60 CM", 60.0)])
async def test_a_png_has_the_size_that_was_asked_for(here, size, centimetres):
    """Its code is as wide as that at the dots per inch that are written into it, sharp, and says what WeCom's says."""
    said = await here.say(_qr, here.folder / "print", ["shop"], size=size)
    assert said.code == 0
    card = Image.open(here.folder / "print" / "shop.png")
    dots = card.info["dpi"][0]
    assert card.width / dots * 2.54 == pytest.approx(centimetres, rel=0.001)
    assert dots > 150
    code = card.crop((0, 0, card.width, card.width))
    assert {colour for _, colour in code.getcolors()} == {(0, 0, 0), (255, 255, 255)}
    assert read(card) == read(await original_of(here, "shop"))
    assert inked(card.crop((0, card.width, *card.size))) > 200


async def test_an_svg_is_as_wide_as_asked_and_draws_the_same_code(here):
    """A print shop can take it to any size; the file has no picture in it and names the channel."""
    said = await here.say(_qr, here.folder, [], format_=Format.SVG, size="8cm", as_json=True)
    assert said.document["files"] == {key: str(here.folder / f"{key}.svg") for key in ("expo26", "shop")}
    svg = (here.folder / "expo26.svg").read_text(encoding="utf-8")
    assert "<title>展会26</title>" in svg
    assert 'width="8cm"' in svg.replace("8.0cm", "8cm")
    assert "<image" not in svg
    (payload,) = read(await original_of(here, "expo26"))
    assert svg.encode() == draw_svg(segno.make(payload, error="m", micro=False), "展会26", 8.0)


async def test_the_sheet_holds_every_code_and_nothing_from_elsewhere(here):
    """One page for A4 with name, key and members under each code; names are text, not markup."""
    here.write(CHANNELS.replace('"南京路店"', '"<b>店</b>"'))
    await here.say(apply_plan, yes=True)
    said = await here.say(_qr, here.folder / "print", [], format_=Format.HTML)
    assert said.out == f"2 codes, 1 file written to {here.folder / 'print'}\n"
    page = (here.folder / "print" / "codes.html").read_text(encoding="utf-8")
    assert page.count("<svg") == page.count("<figure") == 2
    assert "&lt;b&gt;店&lt;/b&gt;" in page
    assert "lin.qiao, zhou.yi" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "size: A4" in page


@pytest.mark.parametrize("size", ["8", "0cm", "10m", "cm", "300cm", "-1cm", "1e9cm", "８cm" * 100])
async def test_a_size_that_is_none_is_refused(here, size):
    """Before anything is fetched or written, with what to write instead."""
    said = await here.say(_qr, here.folder / "print", [], size=size)
    assert (said.code, (here.folder / "print").exists()) == (2, False)
    assert "--size" in said.err
    assert "cm" in said.err


def test_a_logo_in_the_middle_does_not_keep_a_code_from_being_read():
    """WeCom puts the corp's logo there; what is drawn anew does without."""
    picture = BytesIO()
    segno.make("https://work.weixin.qq.com/ca/1", error="h").save(picture, kind="png", scale=10)
    image = opened(picture.getvalue())
    middle = image.width / 2
    ImageDraw.Draw(image).rectangle((middle - 40, middle - 40, middle + 40, middle + 40), fill="blue")
    logoed = BytesIO()
    image.save(logoed, "PNG")
    assert read_code(logoed.getvalue()).matrix == segno.make("https://work.weixin.qq.com/ca/1", error="m").matrix


async def test_a_picture_without_a_readable_code_is_told_and_the_others_written(here, monkeypatch):
    """It can still be had as WeCom made it."""
    blank = BytesIO()
    Image.new("RGB", (400, 400), "white").save(blank, "PNG")
    with pytest.raises(PictureUnavailable, match="no code can be read"):
        read_code(blank.getvalue())


@pytest.mark.parametrize("format_", Format)
async def test_a_full_disk_is_told(here, monkeypatch, format_):
    """A file that cannot be put down whole is not put down."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    said = await here.say(_qr, here.folder / "print", [], format_=format_, size="3cm")
    assert said.code == 2
    assert "No space left on device" in said.err
    assert list((here.folder / "print").iterdir()) == []
