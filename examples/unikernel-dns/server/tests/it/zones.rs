//! Zone files that are wrong: what is said, and of which place.

use dns_server::zone::{MAX_FILE, MAX_RECORDS, Zone};

use crate::zone;

const HEAD: &str = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n";

#[track_caller]
fn wrong(text: &str, place: (u32, u32), says: &str) {
    let error = Zone::parse(text.as_bytes()).map(drop).unwrap_err();
    assert_eq!((error.line, error.column), place, "{error} in {text:?}");
    assert!(error.to_string().contains(says), "{error} in {text:?}");
}

/// The same behind four lines that are right.
#[track_caller]
fn behind(text: &str, place: (u32, u32), says: &str) {
    wrong(&format!("{HEAD}{text}"), (place.0 + 4, place.1), says);
}

#[test]
fn the_example_is_read() {
    let zone = zone();
    assert_eq!(zone.origin().to_string(), "example.org.");
    assert_eq!((zone.records(), zone.serial()), (28, Some(2_026_112_701)));
}

#[test]
fn forms_that_mean_the_same() {
    let tidy = "$ORIGIN example.org.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nwww A 192.0.2.1\n";
    let wild = "\u{feff};c\r\n\r\n$TTL 1m;c\r\n$origin Example.ORG.\r\nexample.org. ( in soa\r\n\tns.example.org. ;c (\r\n h 1 2\n3 4 5)\n\
                \x20NS ns;\nw\\119w 60 IN A 192.0.2.1";
    let one = Zone::parse(tidy.as_bytes()).unwrap();
    let other = Zone::parse(wild.as_bytes()).unwrap();
    let asked = crate::request("www.example.org", 1);
    let told = |zone| crate::ask(zone, &asked, dns_server::answer::Via::Udp).unwrap();
    assert_eq!((one.records(), told(&one)), (other.records(), told(&other)));
}

#[test]
fn words_and_quotes() {
    behind("www A (\n192.0.2.1", (1, 7), "never closed");
    behind("www A )", (1, 7), "without `(`");
    behind("www A ((", (1, 8), "within parentheses");
    behind("www TXT \"a\nb\"", (1, 9), "never closed");
    behind("www TXT \"a\\", (1, 9), "never closed");
    behind("www A 192.0.2.1\x01", (1, 16), "control character");
    behind("w\rww A 192.0.2.1", (1, 2), "control character");
    let many = format!("www TXT {}", "a ".repeat(2000));
    behind(&many, (1, 2053), "too many words");
}

#[test]
fn records() {
    behind("www A", (1, 6), "an address, as 192.0.2.1 is missing");
    behind("www", (1, 4), "a type is missing");
    behind("www 60 IN", (1, 10), "a type is missing");
    behind("www A 192.0.2.256", (1, 7), "expected an address");
    behind("www A 192.0.2.1 x", (1, 17), "ends before this");
    behind("www AAAA 192.0.2.1", (1, 10), "expected an address");
    behind("www MX 65536 a", (1, 8), "from 0 to 65535");
    behind("www MX -1 a", (1, 8), "from 0 to 65535");
    behind("www MX +1 a", (1, 8), "from 0 to 65535");
    behind("www MX 1", (1, 9), "is missing");
    behind("www SRV 1 2 a", (1, 13), "a port");
    behind("www FOO a", (1, 5), "no type of records");
    behind("www TYPE1 \\# 0", (1, 5), "no type of records");
    behind("www TYPE255 \\# 0", (1, 5), "no type of records");
    behind("www TYPE65536 \\# 0", (1, 5), "no type of records");
    behind("www TYPE257 0", (1, 13), "\\# LENGTH HEX");
    behind("www TYPE257 \\# 2 00", (1, 18), "as many bytes");
    behind("www TYPE257 \\# 1 000", (1, 18), "as many bytes");
    behind("www TYPE257 \\# 1 0g", (1, 18), "hexadecimal");
    behind("www CH TXT a", (1, 5), "class IN");
    behind(&format!("www TXT {}", "a".repeat(256)), (1, 9), "255 bytes");
    behind("www TXT \\256", (1, 9), "up to 255");
    behind("$INCLUDE other", (1, 1), "only $ORIGIN and $TTL");
    behind("$TTL", (1, 5), "is missing");
    behind("$TTL 1y", (1, 6), "expected a time");
    behind("$TTL 2147483648", (1, 6), "expected a time");
    behind("$TTL 99999w99999w", (1, 6), "expected a time");
    behind("$TTL 1 2", (1, 8), "ends before this");
    // Text in quotes is never a name of a directive.
    behind("\"$TTL\" 1", (1, 9), "a type is missing");
}

#[test]
fn names() {
    behind("a..b A 192.0.2.1", (1, 1), "empty label");
    behind(".a A 192.0.2.1", (1, 1), "empty label");
    behind("\"\" A 192.0.2.1", (1, 1), "empty label");
    behind("a\\300 A 192.0.2.1", (1, 1), "up to 255");
    behind("b\u{fc}ro A 192.0.2.1", (1, 1), "xn--");
    behind(&format!("{} A 192.0.2.1", "a".repeat(64)), (1, 1), "63 bytes");
    // 121 labels, and the origin's 13 bytes, are 255; then not one more.
    let longest = "a.".repeat(120) + "a";
    Zone::parse(format!("{HEAD}{longest} A 192.0.2.1").as_bytes()).unwrap();
    behind(&format!("{longest}a A 192.0.2.1"), (1, 1), "255 bytes");
    behind(&format!("{} A 192.0.2.1", "a.".repeat(200)), (1, 1), "255 bytes");
    wrong("www A 192.0.2.1", (1, 1), "no $ORIGIN");
    wrong("@ A 192.0.2.1", (1, 1), "no $ORIGIN");
}

#[test]
fn zones() {
    wrong("", (1, 1), "its SOA");
    wrong("; nothing\n", (1, 1), "its SOA");
    wrong(" A 192.0.2.1", (1, 2), "has no name");
    wrong("$ORIGIN a.\n$TTL 1\nb A 192.0.2.1\n@ SOA n h 1 2 3 4 5", (3, 1), "its SOA");
    wrong("a. SOA n. h. 1 2 3 4 5", (1, 23), "no TTL");
    wrong("a. 1 SOA n. h. 1 2 3 4 5", (1, 1), "no NS record");
    behind("@ SOA n h 1 2 3 4 5", (1, 1), "a second SOA");
    behind("b SOA n h 1 2 3 4 5", (1, 1), "a second SOA");
    behind("a.example.net. A 192.0.2.1", (1, 1), "neither the zone's");
    behind("notexample.org. A 192.0.2.1", (1, 1), "neither the zone's");
    behind("www CNAME a\nwww A 192.0.2.1", (2, 1), "no other record");
    behind("www A 192.0.2.1\nwww CNAME a", (2, 1), "no other record");
    behind("@ CNAME a", (1, 1), "no other record");
    behind("www A 192.0.2.1\nwww 61 A 192.0.2.2", (2, 1), "in line 5");
    behind("www A 192.0.2.1\nWWW A 192.0.2.1", (2, 1), "in line 5");
    behind("www MX 1 a\nwww MX 1 A", (2, 1), "in line 5");
    behind("sub NS ns.sub\nns.sub A 192.0.2.1\nwww.sub TXT a", (3, 1), "would never be answered");
    behind("sub NS ns\nsub MX 1 ns", (2, 1), "would never be answered");
    behind("sub NS ns\nx.sub NS ns", (2, 1), "would never be answered");
    behind("*.sub NS ns", (1, 1), "no meaning");
    behind("a CNAME b\nb CNAME c\nc CNAME a", (1, 1), "leads back to itself");
    behind("a CNAME a", (1, 1), "leads back to itself");
    behind("*.w CNAME b.w", (1, 1), "leads back to itself");
    // Neither is the same as the other: bytes of an address are no letters, and those of a text have their own.
    let different = "a A 10.0.0.65\na A 10.0.0.97\na TXT x\na TXT X\na MX 65 a\na MX 97 a";
    Zone::parse(format!("{HEAD}{different}").as_bytes()).unwrap();
    // Sixteen are followed, and no more.
    let chain = |count: u32| (0..count).map(|n| format!("c{n} CNAME c{}\n", n + 1)).collect::<String>();
    Zone::parse(format!("{HEAD}{}", chain(16)).as_bytes()).unwrap();
    behind(&chain(17), (1, 1), "over more than 16");
}

#[test]
fn limits() {
    let text = vec![b';'; MAX_FILE + 1];
    assert!(Zone::parse(&text).unwrap_err().to_string().contains("larger than"));
    let count = u32::try_from(MAX_RECORDS).unwrap();
    let records = |count: u32| (0..count).map(|n| format!("a{n} A 192.0.2.1\n")).collect::<String>();
    Zone::parse(format!("{HEAD}{}", records(count - 2)).as_bytes()).unwrap();
    behind(&records(count - 1), (count - 1, 1), "too many records");
}
