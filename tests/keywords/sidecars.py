"""Sidecars as photo programs write them, each with the flat keywords that are in it."""

from __future__ import annotations

RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
LR = 'xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'

DARKTABLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    {DC}
    {LR}
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="3"
   darktable:history_end="2">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Familie</rdf:li>
     <rdf:li>Ostsee</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Orte|Ostsee</rdf:li>
     <rdf:li>Familie</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="exposure"
      darktable:params="0000&#10;&quot;"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

LIGHTROOM = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF {RDF}>
  <rdf:Description rdf:about=""
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
    {DC}
   crs:Exposure2012='+0.35 "a > b"'>
   <xmpMM:History>
    <rdf:Seq>
     <rdf:li rdf:parseType="Resource">
      <stEvt:action>saved</stEvt:action>
     </rdf:li>
    </rdf:Seq>
   </xmpMM:History>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>wedding</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">A &lt; B</rdf:li></rdf:Alt></dc:title>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

PLAIN = (
    f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about="" {DC}>%s</rdf:Description>'
    "</rdf:RDF></x:xmpmeta>"
)
_BAG = "<dc:subject><rdf:Bag><rdf:li>one</rdf:li><rdf:li>two</rdf:li></rdf:Bag></dc:subject>"

SIDECARS: dict[str, tuple[bytes, list[str]]] = {
    "darktable": (DARKTABLE.encode(), ["Familie", "Ostsee"]),
    "lightroom": (LIGHTROOM.encode(), ["wedding"]),
    "windows line ends": (DARKTABLE.replace("\n", "\r\n").encode(), ["Familie", "Ostsee"]),
    "byte order mark": (b"\xef\xbb\xbf" + DARKTABLE.encode(), ["Familie", "Ostsee"]),
    "utf-16": (("\ufeff" + DARKTABLE.replace("UTF-8", "UTF-16")).encode("utf-16-le"), ["Familie", "Ostsee"]),
    "utf-16 without a mark": (DARKTABLE.replace("UTF-8", "UTF-16").encode("utf-16-be"), ["Familie", "Ostsee"]),
    "latin-1": (
        DARKTABLE.replace("UTF-8", "ISO-8859-1").replace("Ostsee", "Küste").encode("latin-1"),
        ["Familie", "Küste"],
    ),
    "packet with padding": (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        + (PLAIN % _BAG).encode()
        + b"\n"
        + b" " * 2000
        + b'\n<?xpacket end="w"?>',
        ["one", "two"],
    ),
    "on one line": ((PLAIN % _BAG).encode(), ["one", "two"]),
    "no x:xmpmeta": (
        f"<rdf:RDF {RDF}><rdf:Description {DC}>{_BAG}</rdf:Description></rdf:RDF>".encode(),
        ["one", "two"],
    ),
    "a sequence": ((PLAIN % _BAG.replace("rdf:Bag", "rdf:Seq")).encode(), ["one", "two"]),
    "comments and CDATA": (
        (
            PLAIN % "<!-- a > b --><dc:subject><!-- x --><rdf:Bag><!-- y --><rdf:li><![CDATA[a < b]]></rdf:li>"
            "<!-- z --></rdf:Bag></dc:subject><?pi data?>"
        ).encode(),
        ["a < b"],
    ),
    "several descriptions": (
        f'<rdf:RDF {RDF}>\n <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/>\n'
        f' <rdf:Description rdf:about="" {DC}>\n  {_BAG}\n </rdf:Description>\n'
        f' <rdf:Description rdf:about="" {DC}>\n  <dc:subject><rdf:Bag><rdf:li>three</rdf:li></rdf:Bag></dc:subject>\n'
        " </rdf:Description>\n</rdf:RDF>".encode(),
        ["one", "two", "three"],
    ),
    "another prefix": (
        (PLAIN % _BAG)
        .replace("dc:", "d:")
        .replace("xmlns:dc", "xmlns:d")
        .replace("rdf:", "r:")
        .replace(":rdf", ":r")
        .encode(),
        ["one", "two"],
    ),
    "a default namespace": (
        f'<RDF xmlns="http://www.w3.org/1999/02/22-rdf-syntax-ns#" {RDF}><Description rdf:about="" {DC}>'
        "<dc:subject><Bag><li>one</li></Bag></dc:subject></Description></RDF>".encode(),
        ["one"],
    ),
    "dc as the default namespace": (
        (PLAIN % '<subject xmlns="http://purl.org/dc/elements/1.1/"><rdf:Bag><rdf:li>one</rdf:li></rdf:Bag></subject>')
        .replace(DC, 'xmlns:dc="urn:of:someone/else"')
        .encode(),
        ["one"],
    ),
    "dc means something else": (
        (PLAIN % "<dc:subject>not a keyword</dc:subject>").replace(DC, 'xmlns:dc="urn:of:someone/else"').encode(),
        [],
    ),
    "qualified words": (
        (
            PLAIN
            % '<dc:subject><rdf:Bag><rdf:li rdf:parseType="Resource"><rdf:value>one</rdf:value><q xmlns="urn:q">0.7</q>'
            '</rdf:li><rdf:li><rdf:Description rdf:value="two"/></rdf:li><rdf:li xml:lang="en">three</rdf:li></rdf:Bag>'
            "</dc:subject>"
        ).encode(),
        ["one", "two", "three"],
    ),
    "a qualified list": (
        (
            PLAIN
            % '<dc:subject rdf:parseType="Resource"><rdf:value><rdf:Bag><rdf:li>one</rdf:li></rdf:Bag></rdf:value>'
            '<q xmlns="urn:q">x</q></dc:subject>'
        ).encode(),
        ["one"],
    ),
    "an attribute": (
        PLAIN.replace('rdf:about=""', "rdf:about=\"\" dc:subject='only > one' dc:format=\"dc:subject='x'\"")
        .replace("%s", "")
        .encode(),
        ["only > one"],
    ),
    "plain text": ((PLAIN % "<dc:subject>just &amp; one</dc:subject>").encode(), ["just & one"]),
    "an empty list": ((PLAIN % "<dc:subject><rdf:Bag/></dc:subject>").encode(), []),
    "an empty list in two tags": ((PLAIN % "<dc:subject>\n <rdf:Bag>\n </rdf:Bag>\n</dc:subject>").encode(), []),
    "an empty property": ((PLAIN % "<dc:subject/>").encode(), []),
    "no list": ((PLAIN % "<dc:format>image/jpeg</dc:format>").encode(), []),
    "an empty description": ((PLAIN % "").encode(), []),
    "only a comment": ((PLAIN % "<!-- mine -->").encode(), []),
    "a closed description": (
        f'<rdf:RDF {RDF}>\n\t<rdf:Description rdf:about="" xmlns:a="urn:a" a:b="c" />\n</rdf:RDF>'.encode(),
        [],
    ),
    "no description": (f"<rdf:RDF {RDF}></rdf:RDF>".encode(), []),
    "an empty RDF": (f"<rdf:RDF {RDF}/>".encode(), []),
}
"""Name -> the file's bytes, the words of its `dc:subject`."""

INSERT_ONLY = sorted(SIDECARS.keys() - {"an attribute"})
"""Those in which nothing has to be rewritten to add a word."""

REFUSED: dict[str, tuple[bytes, str]] = {
    "cut off": (DARKTABLE.encode()[:700], "is damaged"),
    "empty": (b"", "is damaged"),
    "zeros": (bytes(4096), "is damaged"),
    "not UTF-8": (DARKTABLE.replace("Ostsee", "Küste").encode("latin-1"), "is damaged"),
    "a lone surrogate": (b"\xff\xfe<\0a\0/\0>\0\0\xd8", "is damaged"),
    "an unbound prefix": ((PLAIN % "<lr:x/>").encode(), "is damaged"),
    "not XMP": (b"<html><body/></html>", "is not XMP"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "is damaged"),
    "entities": (
        b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]>' + (PLAIN % "<dc:subject>&c;</dc:subject>").encode(),
        "DOCTYPE",
    ),
    "a file from outside": (
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>' + (PLAIN % "&b;").encode(),
        "DOCTYPE",
    ),
    "an endless nest": (b"<a>" * 100_000, "inside each other"),
    "another encoding": (b'<?xml version="1.0" encoding="KOI8-R"?>' + (PLAIN % "").encode(), "koi8-r"),
    "a literal": ((PLAIN % '<dc:subject rdf:parseType="Literal"><b>x</b></dc:subject>').encode(), "not understood"),
    "a reference": ((PLAIN % '<dc:subject rdf:resource="urn:x"/>').encode(), "not understood"),
}
"""Name -> bytes that are refused, a part of the reason."""

LONG = (PLAIN % ("<dc:format>" + "x\n" * 4_000_000 + "</dc:format>")).encode()
"""A sidecar of 8 MB, most of it one text."""
