//! The machine of `examples/unikernel-dns`: built as its README says, booted, and asked by several clients.

mod ask;
#[path = "../../../../../examples/unikernel-dns/server/tests/it/decode.rs"]
#[allow(dead_code, reason = "the reader of the example's own tests, of which these need less")]
mod decode;
mod made;
mod peer;

use std::io::{Read, Write};
use std::process::Command;
use std::time::Instant;

use kiln_testkit::tools::{tool, unikernel_dns};
use kiln_vm::Ended;

use self::ask::Asker;
use self::decode::Message;
use self::made::{Board, Kernel};
use crate::guest::LIMIT;

/// What docs/unikernel-dns.md has as claimed of a DNS server made with MirageOS, in bytes.
const CLAIMED_SIZE: u64 = 449_000;
/// How often it is measured: an odd number, so that one of the values is the median.
const RUNS: usize = 31;

#[test]
fn it_is_smaller_than_what_is_claimed_for_others() {
    let kernel = unikernel_dns();
    let size = std::fs::metadata(&kernel).unwrap().len();
    println!("unikernel-dns: {size} bytes; claimed for MirageOS: {CLAIMED_SIZE}");
    assert!(size < CLAIMED_SIZE, "{size} bytes");
    let out = Command::new(tool("readelf")).arg("-lW").arg(kernel).output().unwrap();
    let segments = String::from_utf8(out.stdout).unwrap();
    assert!(segments.contains("EXEC (Executable file)"), "{segments}");
    let what: Vec<&str> = segments.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(!what.contains(&"INTERP") && !what.contains(&"DYNAMIC"), "{segments}");
    assert!(!segments.contains("RWE"), "{segments}");
}

/// Boots it and asks it in all ways; says how long it took until it was ready, and until the first answer.
fn answers_on(board: Board) {
    let kernel = Kernel::boot(board, Some(made::EXAMPLE), "");
    // Asked from the beginning, so that the first answer is as early as it can be.
    let told = Asker::eager(&kernel).udp("www.example.org", "A");
    let asker = Asker::new(&kernel);
    let wanted = "NOERROR aa rd
www.example.org. 3600 CNAME web.example.org.
web.example.org. 3600 CNAME host.farm.example.org.
host.farm.example.org. 3600 A 192.0.2.4";
    assert_eq!(told, wanted);
    kernel.vm.wait_for(&["first answer"], 0, LIMIT).unwrap();
    assert_eq!(asker.tcp("www.example.org", "A"), wanted);
    assert!(asker.udp("nobody.example.org", "A").starts_with("NXDOMAIN aa rd\nauthority example.org. 300 SOA "));
    assert_eq!(asker.udp("example.com", "A"), "REFUSED rd");
    asker.garbage();
    assert_eq!(asker.udp("mail.example.org", "MX"), asker.tcp("mail.example.org", "MX"));
    let text = kernel.vm.console().unwrap().text();
    let of_note = |line: &&str| line.contains("zone ") || line.contains(" ready ") || line.contains("first answer");
    for line in text.lines().filter(of_note) {
        println!("{board:?}: {}", line.trim_end());
    }
    assert!(text.contains("zone example.org. with 28 records, serial 2026112701"), "{text}");
}

/// Milliseconds that a line of the console says in front of this.
fn milliseconds(text: &str, behind: &str) -> f64 {
    let front = text.split_once(behind).unwrap_or_else(|| panic!("{behind:?} in {text}")).1;
    front.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "it measures: the numbers of docs/unikernel-dns.md"]
fn measured() {
    let floor = |board: Board| {
        let start = Instant::now();
        // It ends at once.
        let kernel = Kernel::boot(board, None, "");
        kernel.vm.wait(LIMIT).unwrap();
        start.elapsed().as_secs_f64() * 1e3
    };
    for board in [Board::MicrovmByName, Board::Q35] {
        let mut columns = [const { Vec::new() }; 4];
        for _ in 0..RUNS {
            let start = Instant::now();
            let kernel = Kernel::boot(board, Some(made::EXAMPLE), "");
            Asker::eager(&kernel).udp("www.example.org", "A");
            let wall = start.elapsed().as_secs_f64() * 1e3;
            let (_, after) = kernel.vm.wait_for(&["first answer "], 0, LIMIT).unwrap();
            kernel.vm.wait_for(&["instruction"], after, LIMIT).unwrap();
            let text = kernel.vm.console().unwrap().text();
            columns[0].push(milliseconds(&text, "ready "));
            columns[1].push(milliseconds(&text, "first answer "));
            columns[2].push(wall);
            columns[3].push(floor(board));
        }
        for (name, mut values) in
            ["ready", "first answer", "first answer, from qemu's start", "qemu alone"].iter().zip(columns)
        {
            values.sort_by(f64::total_cmp);
            let (least, median, greatest) = (values[0], values[RUNS / 2], values[RUNS - 1]);
            println!("{board:?} {name}: {least:.1} / {median:.1} / {greatest:.1} ms");
        }
    }
}

#[test]
fn it_answers_on_a_board_with_pci() {
    answers_on(Board::Q35);
}

#[test]
fn it_answers_on_a_board_that_names_its_devices() {
    answers_on(Board::MicrovmByName);
}

#[test]
fn it_answers_on_a_board_that_does_not() {
    answers_on(Board::MicrovmByPlace);
}

#[test]
fn dig_is_answered() {
    let kernel = Kernel::boot(Board::Q35, Some(made::EXAMPLE), "ip=10.0.2.15::10.0.2.2:255.255.255.0");
    Asker::new(&kernel).udp("example.org", "SOA");
    let dig = |words: &[&str]| {
        let port = kernel.port.to_string();
        let mut command = Command::new(tool("dig"));
        command.args(["-r", "@127.0.0.1", "-p", &port, "+norecurse", "+tries=5", "+timeout=30"]).args(words);
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{words:?}: {text}");
        text
    };
    assert_eq!(dig(&["+short", "mail.example.org", "A"]), "192.0.2.2\n192.0.2.3\n");
    assert_eq!(
        dig(&["+short", "+tcp", "www.example.org", "A"]),
        "web.example.org.\nhost.farm.example.org.\n192.0.2.4\n"
    );
    assert_eq!(dig(&["+short", "example.org", "TXT"]), "\"v=spf1 mx -all\" \"second; \\\"quoted\\\" \\\\ \\200\"\n");
    assert_eq!(dig(&["+short", "caa.example.org", "CAA"]), "0 issue \"ca.example.net\"\n");
    let whole = dig(&["a.b.sub.example.org", "A"]);
    for part in [
        "status: NOERROR",
        "QUERY: 1, ANSWER: 0, AUTHORITY: 2, ADDITIONAL: 4",
        "udp: 1232",
        "\tNS\tns.sub.example.org.",
    ] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    // Nothing that it says of an answer is a complaint.
    assert!(!whole.contains(";; Warning") && !whole.contains("malformed"), "{whole}");
}

#[test]
fn another_server_says_the_same() {
    let kernel = Kernel::boot(Board::MicrovmByName, Some(made::EXAMPLE), "");
    let peer = peer::Nsd::start();
    let asker = Asker::new(&kernel);
    let names = [
        "",
        "ns1",
        "mail",
        "www",
        "web",
        "farm",
        "host.farm",
        "out",
        "dangling",
        "tofarm",
        "nobody",
        "a.nobody",
        "any.wild",
        "a.b.wild",
        "*.wild",
        "wild",
        "there.wild",
        "x.there.wild",
        "deep.there.wild",
        "any.alias",
        "alias",
        "_dns._udp",
        "_udp",
        "1.2.0.192",
        "0.192",
        "sub",
        "x.sub",
        "ns.sub",
        "tosub",
        "odd.label",
        "caa",
    ];
    let mut compared = 0;
    for name in names {
        let name = format!("{name}.example.org");
        for kind in ["A", "AAAA", "NS", "SOA", "MX", "TXT", "CNAME", "SRV", "PTR", "CAA", "DS"] {
            let question = ask::question(name.trim_start_matches('.'), kind);
            let ours = peer::comparable(&Message::read(&asker.packet(&question)).unwrap());
            let theirs = peer::comparable(&Message::read(&peer.packet(&question)).unwrap());
            assert_eq!(ours, theirs, "{name} {kind}");
            compared += 1;
        }
    }
    println!("{compared} questions have the answers that NSD gives");
}

#[test]
fn what_cannot_be_served_ends_with_a_status() {
    let ends = |zone: Option<&str>, line: &str, says: &str| {
        let kernel = Kernel::boot(Board::Q35, zone, line);
        let ended = kernel.vm.wait(LIMIT);
        let text = kernel.vm.console().unwrap().text();
        assert!(text.contains(&format!("error: {says}")), "{says}: {text}");
        // Of qemu's device for it: 1, doubled, and one.
        assert_eq!(ended, Some(Ended::Exited(3)), "{text}");
    };
    ends(None, "", "no zone file: hand one over");
    ends(Some("$ORIGIN a.\n$TTL 1\n@ SOA n h 1 2 3 4\n"), "", "zone file, line 3, column 18: here the record ends");
    ends(Some("\u{1b}]0;evil\u{7}"), "", "zone file, line 1, column 1: a control character");
    ends(Some(made::EXAMPLE), "ip=10.0.2.15", "command line: `ip=10.0.2.15`: expected");
    let kernel = Kernel::boot(Board::WithoutCard, Some(made::EXAMPLE), "");
    kernel.vm.wait_for(&["error: no network card"], 0, LIMIT).unwrap();
    assert_eq!(kernel.vm.wait(LIMIT), Some(Ended::Exited(3)));
    let kernel = Kernel::boot(Board::Small, Some(made::EXAMPLE), "");
    kernel.vm.wait_for(&["error: the machine has too little memory: 24 MiB are enough"], 0, LIMIT).unwrap();
}

#[test]
fn connections_that_say_nothing_do_not_keep_others_out() {
    let kernel = Kernel::boot(Board::Q35, Some(made::EXAMPLE), "");
    let asker = Asker::new(&kernel);
    asker.udp("example.org", "SOA");
    // More than there is room for: the first ones are given up when they have said nothing for long enough.
    let silent: Vec<_> = (0..16).filter_map(|_| asker.connect().ok()).collect();
    for (index, mut stream) in silent.iter().enumerate() {
        // Some have said half of something.
        if index % 2 == 0 {
            let _ = stream.write_all(&[0, 40, 1, 2, 3]);
        }
    }
    assert!(asker.tcp("ns1.example.org", "A").contains("192.0.2.1"));
    // Several requests at once, answered in their order; then nonsense, and the connection ends.
    let mut stream = asker.connect().unwrap();
    let questions = ["ns1.example.org", "mail.example.org", "nobody.example.org"].map(|name| ask::question(name, "A"));
    let framed: Vec<u8> = questions.iter().flat_map(|question| ask::framed(question)).collect();
    stream.write_all(&framed).unwrap();
    for wanted in ["192.0.2.1", "192.0.2.2", "NXDOMAIN"] {
        let answer = ask::read_framed(&mut stream).unwrap();
        assert!(Message::read(&answer).unwrap().to_string().contains(wanted), "{wanted}");
    }
    stream.write_all(&[0xff, 0xff, 0]).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
}
