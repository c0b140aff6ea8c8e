//! `/etc/resolv.conf`.

use super::lines;
use crate::system::{Kind, Result, System};

/// The path of the file.
pub const PATH: &str = "/etc/resolv.conf";

/// What it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolv {
    /// Addresses of name servers, with their lines.
    pub servers: Vec<(String, usize)>,
    /// Options.
    pub options: Vec<String>,
    /// Where it points, when it is a link: somebody else writes it when the machine runs.
    pub link: Option<String>,
    /// Whether there is a file.
    pub present: bool,
}

/// The most name servers that the resolver of the C library asks.
pub const MAX_SERVERS: usize = 3;

impl Resolv {
    /// The file of a system.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(system: &dyn System) -> Result<Resolv> {
        let link = match system.stat(PATH, false)?.map(|stat| stat.kind) {
            Some(Kind::Link(target)) => Some(target),
            _ => None,
        };
        let text = lines::text(system, PATH)?;
        let mut resolv = Resolv { link, present: text.is_some(), ..Resolv::default() };
        for (line, content) in lines::meaningful(text.as_deref().unwrap_or(""), &['#', ';']) {
            let mut words = content.split_whitespace();
            match words.next() {
                Some("nameserver") => resolv.servers.extend(words.next().map(|server| (server.to_owned(), line))),
                Some("options") => resolv.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        Ok(resolv)
    }
}

/// Whether an address is of those that Alibaba Cloud's resolvers have: 100.x.x.136 and 100.x.x.138.
pub fn is_of_alibaba(address: &str) -> bool {
    let octets = address.parse::<std::net::Ipv4Addr>().map(|address| address.octets());
    matches!(octets, Ok([100, _, _, 136 | 138]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    #[test]
    fn servers_and_options_are_read() {
        let text = "options timeout:2 attempts:3\n; generated\nnameserver 100.100.2.136\nnameserver\nsearch x\n";
        let resolv = Resolv::of(&Memory::new().file(PATH, text)).unwrap();
        assert_eq!(resolv.servers, [("100.100.2.136".to_owned(), 3)]);
        assert_eq!(resolv.options, ["timeout:2", "attempts:3"]);
        assert!(is_of_alibaba("100.1.2.138") && !is_of_alibaba("100.1.2.3") && !is_of_alibaba("x"));
        let link = Resolv::of(&Memory::new().link(PATH, "../run/systemd/resolve/stub-resolv.conf")).unwrap();
        assert_eq!((link.present, link.link.as_deref()), (false, Some("../run/systemd/resolve/stub-resolv.conf")));
    }
}
