//! What is answered to what.

use dns_server::answer::Via;

use crate::decode::{Message, kind};
use crate::{ask, request, told, with_edns, zone};

const SOA: &str =
    "authority example.org. 300 SOA ns1.example.org. hostmaster.example.org. 2026112701 7200 900 2505600 300";

#[track_caller]
fn check(name: &str, kind: &str, wanted: &str) {
    assert_eq!(told(name, kind), wanted.replace("SOA…", SOA), "{name} {kind}");
}

#[test]
fn what_is_there() {
    check("ns1.example.org", "A", "NOERROR aa rd\nns1.example.org. 3600 A 192.0.2.1");
    check("NS1.Example.ORG", "AAAA", "NOERROR aa rd\nns1.example.org. 3600 AAAA 2001:db8::1");
    check(
        "mail.example.org",
        "A",
        "NOERROR aa rd\nmail.example.org. 300 A 192.0.2.2\nmail.example.org. 300 A 192.0.2.3",
    );
    check("1.2.0.192.example.org", "PTR", "NOERROR aa rd\n1.2.0.192.example.org. 3600 PTR ns1.example.org.");
    check(
        "caa.example.org",
        "CAA",
        "NOERROR aa rd\ncaa.example.org. 3600 CAA 0005697373756563612e6578616d706c652e6e6574",
    );
    let texts = r#"NOERROR aa rd
example.org. 3600 TXT "v=spf1 mx -all" "second; \\\"quoted\\\" \\\\ \\xc8""#;
    check("example.org", "TXT", texts);
    let soa =
        "NOERROR aa rd\nexample.org. 3600 SOA ns1.example.org. hostmaster.example.org. 2026112701 7200 900 2505600 300";
    check("example.org", "SOA", soa);
}

#[test]
fn addresses_come_along() {
    check(
        "example.org",
        "NS",
        "NOERROR aa rd
example.org. 3600 NS ns1.example.org.
example.org. 3600 NS ns2.example.net.
additional ns1.example.org. 3600 A 192.0.2.1
additional ns1.example.org. 3600 AAAA 2001:db8::1",
    );
    check(
        "example.org",
        "MX",
        "NOERROR aa rd
example.org. 3600 MX 10 mail.example.org.
example.org. 3600 MX 20 mail.example.net.
additional mail.example.org. 300 A 192.0.2.2
additional mail.example.org. 300 A 192.0.2.3",
    );
    check(
        "_dns._udp.example.org",
        "SRV",
        "NOERROR aa rd
_dns._udp.example.org. 3600 SRV 0 5 53 ns1.example.org.
additional ns1.example.org. 3600 A 192.0.2.1
additional ns1.example.org. 3600 AAAA 2001:db8::1",
    );
}

#[test]
fn what_is_not_there() {
    check("nobody.example.org", "A", "NXDOMAIN aa rd\nSOA…");
    check("ns1.example.org", "TXT", "NOERROR aa rd\nSOA…");
    // Nothing is at the name, but something is below it.
    check("farm.example.org", "A", "NOERROR aa rd\nSOA…");
    check("0.192.example.org", "PTR", "NOERROR aa rd\nSOA…");
    check("_udp.example.org", "SRV", "NOERROR aa rd\nSOA…");
    // A label with a dot in it is another name than two labels.
    check("odd.label.example.org", "A", "NXDOMAIN aa rd\nSOA…");
}

#[test]
fn other_names_are_followed() {
    check(
        "www.example.org",
        "A",
        "NOERROR aa rd
www.example.org. 3600 CNAME web.example.org.
web.example.org. 3600 CNAME host.farm.example.org.
host.farm.example.org. 3600 A 192.0.2.4",
    );
    check("www.example.org", "CNAME", "NOERROR aa rd\nwww.example.org. 3600 CNAME web.example.org.");
    check("out.example.org", "A", "NOERROR aa rd\nout.example.org. 3600 CNAME elsewhere.example.net.");
    check("dangling.example.org", "A", "NXDOMAIN aa rd\ndangling.example.org. 3600 CNAME nobody.example.org.\nSOA…");
    check("tofarm.example.org", "A", "NOERROR aa rd\ntofarm.example.org. 3600 CNAME farm.example.org.\nSOA…");
    check(
        "tosub.example.org",
        "A",
        "NOERROR aa rd
tosub.example.org. 3600 CNAME www.sub.example.org.
authority sub.example.org. 3600 NS ns.sub.example.org.
authority sub.example.org. 3600 NS ns1.example.org.
additional ns.sub.example.org. 3600 A 192.0.2.7
additional ns1.example.org. 3600 A 192.0.2.1
additional ns1.example.org. 3600 AAAA 2001:db8::1",
    );
}

#[test]
fn wildcards_stand_for_what_is_not_there() {
    check("any.wild.example.org", "TXT", "NOERROR aa rd\nany.wild.example.org. 3600 TXT \"wildcard\"");
    check("a.b.wild.example.org", "TXT", "NOERROR aa rd\na.b.wild.example.org. 3600 TXT \"wildcard\"");
    check("*.wild.example.org", "TXT", "NOERROR aa rd\n*.wild.example.org. 3600 TXT \"wildcard\"");
    check("any.wild.example.org", "A", "NOERROR aa rd\nSOA…");
    // Not for what is there, nor for what is below that.
    check("wild.example.org", "TXT", "NOERROR aa rd\nSOA…");
    check("there.wild.example.org", "TXT", "NOERROR aa rd\nSOA…");
    check("x.there.wild.example.org", "TXT", "NXDOMAIN aa rd\nSOA…");
    check(
        "any.alias.example.org",
        "A",
        "NOERROR aa rd
any.alias.example.org. 3600 CNAME web.example.org.
web.example.org. 3600 CNAME host.farm.example.org.
host.farm.example.org. 3600 A 192.0.2.4",
    );
}

#[test]
fn delegations_lead_on() {
    let referral = "NOERROR rd
authority sub.example.org. 3600 NS ns.sub.example.org.
authority sub.example.org. 3600 NS ns1.example.org.
additional ns.sub.example.org. 3600 A 192.0.2.7
additional ns1.example.org. 3600 A 192.0.2.1
additional ns1.example.org. 3600 AAAA 2001:db8::1";
    for name in ["sub.example.org", "a.b.sub.example.org", "ns.sub.example.org"] {
        check(name, "A", referral);
    }
    check("sub.example.org", "NS", referral);
    // A delegation's key belongs to this side of it.
    check("sub.example.org", "DS", "NOERROR aa rd\nSOA…");
}

#[test]
fn others_zones_and_other_things_are_refused() {
    for name in ["example.net", "org", "", "notexample.org", "example.org.net"] {
        check(name, "A", "REFUSED rd");
    }
    check("example.org", "AXFR", "REFUSED rd");
    let mut chaos = request("example.org", 16);
    *chaos.last_mut().unwrap() = 3;
    let bytes = ask(&zone(), &chaos, Via::Udp).unwrap();
    assert_eq!((bytes[2] & 0x84, bytes[3] & 0xf), (0x80, 5));
}

#[test]
fn anything_is_little_by_datagram_and_all_by_stream() {
    let asked = request("ns1.example.org", kind("ANY"));
    let told = |via| Message::read(&ask(&zone(), &asked, via).unwrap()).unwrap().to_string();
    let first = "NOERROR aa rd\nns1.example.org. 3600 A 192.0.2.1";
    assert_eq!(told(Via::Udp), first);
    assert_eq!(told(Via::Tcp), format!("{first}\nns1.example.org. 3600 AAAA 2001:db8::1"));
}

#[test]
fn what_the_request_says_of_itself_is_heeded() {
    let zone = zone();
    let plain = request("ns1.example.org", 1);
    let told = |request: &[u8]| Message::read(&ask(&zone, request, Via::Udp).unwrap()).unwrap().to_string();
    assert_eq!(told(&with_edns(plain.clone(), 4096)), "NOERROR aa rd edns=1232\nns1.example.org. 3600 A 192.0.2.1");
    let mut signed = with_edns(plain.clone(), 4096);
    let flags = signed.len() - 4;
    signed[flags] = 0x80;
    assert!(told(&signed).starts_with("NOERROR aa rd edns=1232 do\n"));
    let mut newer = with_edns(plain.clone(), 4096);
    let version = newer.len() - 5;
    newer[version] = 1;
    assert_eq!(told(&newer), "BADVERS rd edns=1232");
    // The number, the letters and the flags are the asker's.
    let mut own = request("NS1.eXample.org", 1);
    own[2..4].copy_from_slice(&[0x00, 0x10]);
    let bytes = ask(&zone, &own, Via::Udp).unwrap();
    assert_eq!((&bytes[..2], &bytes[12..28]), (&own[..2], &own[12..28]));
    assert!(Message::read(&bytes).unwrap().to_string().starts_with("NOERROR aa cd\n"));
}
