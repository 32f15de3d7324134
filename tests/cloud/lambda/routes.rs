//! Which route of an HTTP API takes a request: the most specific one (Amazon API Gateway Developer Guide, "Create routes for HTTP
//! APIs").

/// The route that takes whatever no other takes.
pub const DEFAULT: &str = "$default";

/// A route that takes a request, and what the variables of its path stand for.
#[derive(Debug, PartialEq, Eq)]
pub struct MatchedRoute<'a> {
    /// As it was deployed.
    pub key: &'a str,
    /// Names and values, as they were sent.
    pub variables: Vec<(&'a str, &'a str)>,
}

/// Finds the route for a request among all of an API.
pub fn take<'a>(
    keys: impl Iterator<Item = &'a str>,
    method: &str,
    path: &'a str,
) -> Option<MatchedRoute<'a>> {
    let all = keys.filter_map(|key| Some((rank(key, method), fits(key, method, path)?)));
    all.max_by(|(one, _), (other, _)| one.cmp(other))
        .map(|(_, taken)| taken)
}

/// How specific each part of a path is: a word more than a variable, that more than whatever follows; then the method.
fn rank(key: &str, method: &str) -> (Vec<u8>, bool) {
    let (of, path) = key.split_once(' ').unwrap_or((DEFAULT, ""));
    let part = |part: &str| {
        if part.ends_with("+}") {
            1
        } else if part.starts_with('{') {
            2
        } else {
            3
        }
    };
    (parts(path).map(part).collect(), of == method)
}

fn fits<'a>(key: &'a str, method: &str, path: &'a str) -> Option<MatchedRoute<'a>> {
    if key == DEFAULT {
        return Some(MatchedRoute {
            key,
            variables: Vec::new(),
        });
    }
    let (of, pattern) = key.split_once(' ')?;
    if of != method && of != "ANY" {
        return None;
    }
    let (mut variables, mut rest) = (Vec::new(), path.strip_prefix('/')?);
    let mut pattern = parts(pattern).peekable();
    while let Some(part) = pattern.next() {
        if let Some(name) = part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix("+}"))
        {
            variables.push((name, rest));
            return (!rest.is_empty()).then_some(MatchedRoute { key, variables });
        }
        let (found, after) = rest.split_once('/').unwrap_or((rest, ""));
        match part
            .strip_prefix('{')
            .and_then(|part| part.strip_suffix('}'))
        {
            Some(name) if !found.is_empty() => variables.push((name, found)),
            None if part == found => {}
            Some(_) | None => return None,
        }
        if pattern.peek().is_none() && rest.len() > found.len() {
            return None;
        }
        rest = after;
    }
    rest.is_empty().then_some(MatchedRoute { key, variables })
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 7] = [
        "$default",
        "ANY /{proxy+}",
        "POST /hook/{proxy+}",
        "POST /hook/{forge}",
        "POST /hook/github",
        "GET /",
        "ANY /hook/github",
    ];

    fn taken(method: &str, path: &str) -> (String, Vec<(String, String)>) {
        let taken = take(ALL.into_iter(), method, path).unwrap();
        let variables = taken
            .variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        (taken.key.to_owned(), variables)
    }

    #[test]
    fn the_most_specific_route_takes_a_request() {
        let variable = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        assert_eq!(
            taken("POST", "/hook/github"),
            ("POST /hook/github".to_owned(), vec![])
        );
        assert_eq!(
            taken("PUT", "/hook/github"),
            ("ANY /hook/github".to_owned(), vec![])
        );
        assert_eq!(
            taken("POST", "/hook/gitea"),
            ("POST /hook/{forge}".to_owned(), variable("forge", "gitea"))
        );
        assert_eq!(
            taken("POST", "/hook/a/b+c"),
            ("POST /hook/{proxy+}".to_owned(), variable("proxy", "a/b+c"))
        );
        assert_eq!(
            taken("GET", "/hook/gitea"),
            ("ANY /{proxy+}".to_owned(), variable("proxy", "hook/gitea"))
        );
        assert_eq!(taken("GET", "/"), ("GET /".to_owned(), vec![]));
        assert_eq!(
            taken("PUT", "/"),
            ("$default".to_owned(), vec![]),
            "whatever follows is something"
        );
    }

    #[test]
    fn what_no_route_takes_is_not_taken() {
        assert_eq!(take(["GET /a"].into_iter(), "GET", "/a/b"), None);
        assert_eq!(take(["GET /a"].into_iter(), "GET", "/a/"), None);
        assert_eq!(take(["GET /a/{b}"].into_iter(), "GET", "/a"), None);
        assert_eq!(take(["GET /a"].into_iter(), "POST", "/a"), None);
    }
}
