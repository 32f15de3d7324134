//! Addresses of HTTP: how a client reached the line, whom the line answers, and texts as parts of a URL.

use core::net::IpAddr;

/// How the client of a request reached the line: `https://rpms.example.org`. `header` answers a header of the request by its name. A host with
/// characters that no host has is not repeated, since the answer is shown to people and copied into their shells.
pub fn base_url<'a>(header: impl Fn(&str) -> Option<&'a str>) -> String {
    let is_host = |host: &&str| {
        !host.is_empty()
            && host
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c))
    };
    let host = header("x-forwarded-host")
        .or_else(|| header("host"))
        .filter(is_host)
        .unwrap_or("localhost");
    let scheme = header("x-forwarded-proto")
        .filter(|scheme| *scheme == "https")
        .unwrap_or("http");
    format!("{scheme}://{host}")
}

/// The hosts that a line on one machine answers to: those of its own addresses, and whatever means this machine alone. A page of
/// somebody else whose name leads here for a moment (DNS rebinding) reads nothing: its browser asks for that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnHosts(Vec<String>);

impl OwnHosts {
    /// Those of these addresses, and this machine's own.
    pub fn of<'a>(urls: impl IntoIterator<Item = &'a str>) -> Self {
        let host = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            host_of(rest.split('/').next().unwrap_or_default())
        };
        Self(urls.into_iter().filter_map(host).collect())
    }

    /// Whether a request for this host, as `Host` has it (RFC 9110, 7.2), is for this line.
    pub fn has(&self, asked: &str) -> bool {
        host_of(asked).is_some_and(|host| is_of_this_machine(&host) || self.0.contains(&host))
    }

    /// What somebody is told who asks for another host.
    pub fn refusal(&self, asked: &str) -> String {
        let own = if self.0.is_empty() {
            "localhost".to_owned()
        } else {
            self.0.join(" and ")
        };
        let asked: String = asked
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        format!(
            "this line answers to {own}, and not to `{asked}`: start it with `millrace up --url URL` if people and runners reach it by that name"
        )
    }
}

/// A host in lower case, without its port and without a dot at its end; none if it is none.
fn host_of(authority: &str) -> Option<String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, _)) => (host, &authority[host.len()..]),
            None => (authority, ""),
        },
    };
    let is_port = |port: &str| {
        port.strip_prefix(':')
            .is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit()))
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_host = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._:".contains(c));
    (is_host && (port.is_empty() || is_port(port))).then(|| host.to_ascii_lowercase())
}

/// Whether a host is this machine for whoever asks on it: `localhost`, a loopback address, or none in particular.
fn is_of_this_machine(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// A text as one segment of a path or one value of a query: each byte that is not unreserved (RFC 3986, 2.3) and not this sign becomes `%XX`.
pub fn percent_encoded(text: &str, also: char) -> String {
    let encode = |byte: u8| {
        let c = char::from(byte);
        let is_plain = c.is_ascii_alphanumeric() || "-._~".contains(c) || c == also;
        if byte.is_ascii() && is_plain {
            c.to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(headers: &[(&str, &'static str)]) -> String {
        base_url(|name| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| *value)
        })
    }

    #[test]
    fn a_client_is_answered_with_the_address_that_it_used() {
        assert_eq!(reached(&[]), "http://localhost");
        assert_eq!(
            reached(&[("host", "127.0.0.1:8470")]),
            "http://127.0.0.1:8470"
        );
        let front = [
            ("host", "inner"),
            ("x-forwarded-host", "rpms.example.org"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(reached(&front), "https://rpms.example.org");
    }

    #[test]
    fn a_host_that_is_none_is_not_repeated() {
        for host in ["", "a b", "x\"><script>", "$(reboot)", "a/b"] {
            let host: &'static str = host;
            assert_eq!(reached(&[("host", host)]), "http://localhost");
        }
        assert_eq!(
            reached(&[("x-forwarded-proto", "javascript")]),
            "http://localhost"
        );
    }

    #[test]
    fn a_line_answers_to_its_own_hosts_alone() {
        let own = OwnHosts::of(["https://RPMs.example.org/", "http://10.0.0.7:8470"]);
        for host in [
            "rpms.example.org",
            "rpms.example.org:443",
            "RPMS.example.org.",
            "10.0.0.7:8470",
            "localhost:8470",
            "127.0.0.1",
            "127.8.0.1:80",
            "[::1]:8470",
            "0.0.0.0:8470",
        ] {
            assert!(own.has(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "rpms.example.org.evil.example",
            "evil.example:8470",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "rpms.example.org@evil.example",
            "rpms.example.org:80@evil.example",
            "10.0.0.8",
            "[::2]",
            "rpms.example.org:x",
        ] {
            assert!(!own.has(host), "{host}");
        }
        assert_eq!(
            own.refusal("evil.example"),
            "this line answers to rpms.example.org and 10.0.0.7, and not to `evil.example`: start it with `millrace up --url URL` if people \
             and runners reach it by that name"
        );
    }

    #[test]
    fn what_is_not_unreserved_is_encoded_byte_by_byte() {
        assert_eq!(percent_encoded("a b/ü@", '@'), "a%20b%2F%C3%BC@");
        assert_eq!(percent_encoded("1.2~rc1+x", '+'), "1.2~rc1+x");
        assert_eq!(percent_encoded("\u{9541}", '\u{e9}'), "%E9%95%81");
    }
}
