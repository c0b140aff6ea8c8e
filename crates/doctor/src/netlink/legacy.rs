//! Rules of the older iptables, from what `iptables-legacy-save` prints: the kernel shows them only through a call that
//! needs unsafe code.
//!
//! As of rules of nf_tables, a condition that is not understood marks its rule ([`Rule::more`]).

use super::nft::{RULES, Rule, Verdict, is_of_services};
use super::sets::OneOf;

/// All rules but those of single services. Words: iptables(8), iptables-extensions(8).
pub fn rules(text: &str) -> Vec<Rule> {
    let rules = appended(text).filter_map(|(table, rest)| {
        let (chain, words) = rest.split_once(' ').filter(|(chain, _)| !is_of_services(chain))?;
        Some(rule(table, chain, words))
    });
    rules.take(RULES).collect()
}

/// The lines of rules in what `iptables-save` prints: the table, and what follows `-A`, of which the chain is the first
/// word.
pub(crate) fn appended(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut table = "";
    text.lines().filter_map(move |line| {
        table = line.strip_prefix('*').unwrap_or(table);
        Some((table, line.strip_prefix("-A ")?))
    })
}

/// Words, some in quotes.
pub(super) fn words(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => word.extend(letters.next()),
            ' ' if !quoted => out.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            _ => word.push(letter),
        }
    }
    out.extend(Some(word).filter(|word| !word.is_empty()));
    out
}

/// The number of a protocol over IP.
pub(super) fn protocol(word: &str) -> Option<u8> {
    match word {
        "icmp" => Some(1),
        "ipencap" | "ipip" => Some(4),
        "tcp" => Some(6),
        "udp" => Some(17),
        "gre" => Some(47),
        "esp" => Some(50),
        "sctp" => Some(132),
        number => number.parse().ok(),
    }
}

/// `8472`, `8000:9000`.
fn ports(word: &str) -> Option<(u16, u16)> {
    match word.split_once(':') {
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
        None => word.parse().ok().map(|port| (port, port)),
    }
}

fn rule(table: &str, chain: &str, conditions: &str) -> Rule {
    let (table, chain) = (table.to_owned(), chain.to_owned());
    let mut rule = Rule { family: 2, table, chain, ..Rule::default() };
    let mut words = words(conditions).into_iter().peekable();
    let mut inverted = false;
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            inverted |= word == "!";
            rule.more = true;
            continue;
        }
        // Some options have no value; a comment may begin as an option does.
        let has_value = word == "--comment" || words.peek().is_some_and(|next| !next.starts_with('-'));
        let value = if has_value { words.next().unwrap_or_default() } else { String::new() };
        // Modules say themselves what they look at.
        if word == "-m" || std::mem::take(&mut inverted) {
            continue;
        }
        rule.more |= !meant(&mut rule, &word, value);
        if word == "-j" || word == "-g" {
            // What follows is the target's own.
            break;
        }
    }
    rule
}

/// Takes an option into a rule; false when it says something that is not understood.
fn meant(rule: &mut Rule, option: &str, value: String) -> bool {
    let network =
        |value: &str| if value.contains('/') { value.parse().ok() } else { format!("{value}/32").parse().ok() };
    match option {
        "-s" => return read(&mut rule.from, network(&value)),
        "-d" => return read(&mut rule.to, network(&value)),
        "-i" => rule.input = Some(value),
        "-o" => rule.output = Some(value),
        "-p" if value == "all" => {}
        "-p" => return read(&mut rule.protocol, protocol(&value)),
        "--dport" => return read(&mut rule.ports, ports(&value)),
        "--dports" => {
            let all: Option<Vec<(u16, u16)>> = value.split(',').map(ports).collect();
            let understood = all.is_some();
            rule.one_of.extend(all.map(OneOf::Ports));
            return understood;
        }
        "--ctstate" | "--state" => rule.later |= !value.split(',').any(|state| state == "NEW"),
        "--mark" => rule.later = true,
        "--comment" => rule.comment = Some(value),
        "-j" | "-g" => target(rule, value),
        _ => return false,
    }
    true
}

/// Puts what a value means in its place; false when it means nothing.
fn read<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    *place = value;
    place.is_some()
}

fn target(rule: &mut Rule, name: String) {
    rule.verdict = match name.as_str() {
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" => Some(Verdict::Drop),
        "REJECT" => Some(Verdict::Reject),
        "RETURN" => Some(Verdict::Return),
        // What a program decides is not known: it may let it pass.
        "NFQUEUE" | "QUEUE" => {
            rule.more = true;
            Some(Verdict::Accept)
        }
        // Targets of the kernel do something, and let the packet go on; chains are what the rest is.
        "MASQUERADE" | "DNAT" | "SNAT" | "REDIRECT" | "MARK" | "CONNMARK" | "LOG" | "NFLOG" | "TCPMSS" | "CT"
        | "NOTRACK" | "CHECKSUM" | "TRACE" | "SET" | "NETMAP" | "TPROXY" | "TOS" | "DSCP" | "TTL" => {
            rule.does.push(name);
            return;
        }
        _ => Some(Verdict::Jump(name)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Rule {
        rules(&format!("*filter\n-A INPUT {line}\n")).remove(0)
    }

    #[test]
    fn what_is_understood() {
        let drop = one("-s 10.0.0.5/32 -i eth0 -p udp -m udp --dport 8472 -m comment --comment \"a b\" -j DROP");
        assert_eq!((drop.protocol, drop.ports, drop.more), (Some(17), Some((8472, 8472)), false));
        assert_eq!((drop.input.as_deref(), &drop.verdict), (Some("eth0"), &Some(Verdict::Drop)));
        assert_eq!(drop.from.map(|from| from.to_string()).as_deref(), Some("10.0.0.5/32"));
        let several = one("-p tcp -m multiport --dports 22,8000:9000 -j REJECT --reject-with icmp-port-unreachable");
        assert_eq!(several.one_of, [OneOf::Ports(vec![(22, 22), (8000, 9000)])]);
        assert_eq!((several.verdict, several.more), (Some(Verdict::Reject), false));
        assert!(one("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT").later);
        assert!(!one("-m state --state NEW,ESTABLISHED -j ACCEPT").later);
        assert_eq!(one("-j KUBE-FIREWALL").verdict, Some(Verdict::Jump("KUBE-FIREWALL".to_owned())));
        let marked = one("-j MARK --set-xmark 0x4000/0x4000");
        assert_eq!((marked.verdict, marked.does), (None, vec!["MARK".to_owned()]));
    }

    #[test]
    fn what_is_not_is_marked() {
        for line in [
            "! -s 10.0.0.0/8 -j DROP",
            "-s x -j DROP",
            "-p nonsense -j DROP",
            "-p udp -m udp --sport 53 -j ACCEPT",
            "-m limit --limit 5/min -j ACCEPT",
            "-m addrtype --dst-type LOCAL -j DROP",
            "-m multiport --dports 22,x -j DROP",
            "-p tcp -m tcp --tcp-flags SYN,RST SYN -j DROP",
            "-m physdev --physdev-is-bridged -j ACCEPT",
        ] {
            let rule = one(line);
            assert!(rule.more && rule.verdict.is_some(), "{line}: {rule:?}");
        }
        assert_eq!(one("! -s 10.0.0.0/8 -p tcp -j DROP").from, None, "it is for all others");
    }

    #[test]
    fn garbage_is_no_rule() {
        for text in ["", "-A", "-A ", "-A X", "*\n-A X -j", "\0", "-A X \"", "-A KUBE-SVC-X -j DROP"] {
            let _ = rules(text);
        }
        assert_eq!(rules("*filter\n-A KUBE-SVC-X -j DROP\n"), []);
        assert_eq!(rules(&"-A INPUT -j DROP\n".repeat(RULES + 5)).len(), RULES);
    }
}
