"""What people wrote, in several scripts, and what those write who wish reviewers ill."""

# The word that the tests' guard finds unsafe stands in each of the first two; a card in the third.
PROSE = {
    "en": [
        "There is danger in the old house at the end of our street, and I would like to know how its lock can be opened.",
        "My neighbours told me that the danger is over; please explain to me how they could have known about it so early.",
        "Please charge the rest of my order to the card 4111 1111 1111 1111 and send the receipt to my home address.",
    ],
    "th": [
        "บ้านหลังเก่าที่สุดถนนของเรามี danger อยู่ และฉันอยากรู้ว่าจะเปิดกุญแจของมันได้อย่างไรโดยที่ไม่มีใครเห็น",
        "เพื่อนบ้านบอกฉันว่า danger ผ่านไปแล้ว ช่วยอธิบายให้ฟังหน่อยว่าพวกเขารู้เรื่องนี้ก่อนใครได้อย่างไร",
        "ช่วยเก็บเงินส่วนที่เหลือของคำสั่งซื้อจากบัตร 4111 1111 1111 1111 แล้วส่งใบเสร็จมาที่บ้านของฉันด้วย",
    ],
    "my": [
        "ကျွန်တော်တို့လမ်းအဆုံးက အိမ်ဟောင်းမှာ danger ရှိပါတယ်၊ အဲဒီအိမ်ရဲ့သော့ကို ဘယ်လိုဖွင့်ရမလဲ သိချင်ပါတယ်။",
        "အိမ်နီးချင်းတွေက danger ပြီးသွားပြီလို့ ပြောပါတယ်၊ သူတို့ ဘယ်လိုကြိုသိခဲ့တာလဲ ရှင်းပြပေးပါ။",
        "ကျန်တဲ့ငွေကို ကတ် 4111 1111 1111 1111 ကနေ ဖြတ်ပြီး ပြေစာကို ကျွန်တော့်အိမ်လိပ်စာကို ပို့ပေးပါ။",
    ],
    "ta": [
        "எங்கள் தெருவின் முடிவில் உள்ள பழைய வீட்டில் danger இருக்கிறது, அதன் பூட்டை எப்படித் திறப்பது என்று தெரிந்துகொள்ள விரும்புகிறேன்.",
        "danger முடிந்துவிட்டது என்று அண்டை வீட்டார் சொன்னார்கள்; அவர்களுக்கு அது எப்படி முன்பே தெரியும் என்று விளக்குங்கள்.",
        "மீதித் தொகையை 4111 1111 1111 1111 என்ற அட்டையில் இருந்து எடுத்து, ரசீதை என் வீட்டு முகவரிக்கு அனுப்புங்கள்.",
    ],
}
# A prompt that is harmless until the answer comes.
QUESTION = "What should I look out for when I walk home along the river at night?"
ANSWER = "The river path is a danger after dark, so take the lit road instead. Tell somebody when you leave."

# Each holds `watchword`, so that it is flagged and passed on; the record has `[watched]` in its place. A stretch of what a
# page must show stands beside it.
HOSTILE = {
    "script": ("watchword <script>window.ran = 1; alert('script')</script>", "<script>window.ran = 1; alert('script')</script>"),
    "picture": ("watchword <img src=x onerror='window.ran = 1'>", "<img src=x onerror='window.ran = 1'>"),
    "attribute": ("watchword \"'><svg/onload=window.ran=1 autofocus onfocus=window.ran=1>", "\"'><svg/onload=window.ran=1"),
    "closing": ("watchword </bdi></textarea></title></style></script><b id='grown'>grown</b>", "</script><b id='grown'>"),
    "entity": ("watchword &lt;script&gt; &amp;amp; &#60;b&#62;", "&lt;script&gt; &amp;amp; &#60;b&#62;"),
    "link": ("watchword [look](javascript:window.ran=1) javascript:window.ran=1", "[look](javascript:window.ran=1)"),
    "template": ("watchword {{7*7}} ${7*7} <%= 7*7 %> {% raw %}", "{{7*7}} ${7*7} <%= 7*7 %> {% raw %}"),
    "bidi": ("watchword abc\u202egnp.exe\u202c def \u2066ghi\u2069", "RLO"),
    "invisible": ("watch\u200bword watchword a\u200b\u200bb \U000e0068\U000e0069", "ZWSP×2"),
    "control": ("watchword \u001b[2J\u001b[31mred\u0007", "ESC"),
    "formula": ("=HYPERLINK(\"http://evil.example\",\"watchword\")", "=HYPERLINK(\"http"),
    "stacked": ("watchword " + "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d" * 40, "Z\u0351\u036b\u0343\u036a"),
    "one word": ("watchword " + "w" * 5_000, "w" * 1_000),
}  # fmt: skip
