//! Requests as events and answers as responses, in the payload format 2.0 (Amazon API Gateway Developer Guide, "AWS Lambda proxy
//! integrations for HTTP APIs").

use crate::lambda::account::decoded;
use crate::lambda::clock::{common, now_ms};
use crate::lambda::invoker::new_id;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where a request came in.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Id of the API or of the function's address.
    pub id: &'a str,
    /// The account that owns it; a function's address has callers without one.
    pub account: &'a str,
    /// The route that took it.
    pub route: &'a str,
    /// What the variables of the route's path stand for.
    pub variables: Vec<(&'a str, &'a str)>,
    /// Whether it is an HTTP API, and no address of a function: an API tells a path without its codes, and cookies once.
    pub is_api: bool,
}

/// The event of a request.
pub fn event(entry: &Entry<'_>, request: &Parts, body: &[u8]) -> Value {
    let (query, path) = (
        request.uri.query().unwrap_or_default(),
        path(entry, request.uri.path()),
    );
    let host = get(&request.headers, header::HOST);
    let now = now_ms();
    let mut event = json!({
        "version": "2.0",
        "routeKey": entry.route,
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers(entry, &request.headers, body.len()),
        "requestContext": {
            "accountId": entry.account,
            "apiId": entry.id,
            "domainName": host,
            "domainPrefix": host.split('.').next(),
            "http": {
                "method": request.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": get(&request.headers, header::USER_AGENT),
            },
            "requestId": new_id(),
            "routeKey": entry.route,
            "stage": "$default",
            "time": common(now),
            "timeEpoch": now,
        },
        "isBase64Encoded": false,
    });
    let cookies: Vec<_> = values(&request.headers, header::COOKIE)
        .flat_map(|value| value.split("; "))
        .collect();
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !query.is_empty() {
        event["queryStringParameters"] = json!(parameters(query));
    }
    if !entry.variables.is_empty() {
        let variables = entry
            .variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), decoded(value).into()));
        event["pathParameters"] = Value::Object(variables.collect());
    }
    if !body.is_empty() {
        add_body(&mut event, &request.headers, body);
    }
    event
}

/// An HTTP API reads the codes of a path, and takes what follows a `?` among them for a query that it has read already
/// (hotsock/voker, pull request 8, has requests and their events). The address of a function leaves a path alone.
fn path(entry: &Entry<'_>, path: &str) -> String {
    if !entry.is_api {
        return path.to_owned();
    }
    let path = decoded(path);
    path.split('?').next().unwrap_or_default().to_owned()
}

fn get(headers: &HeaderMap, name: header::HeaderName) -> &str {
    values(headers, name).next().unwrap_or_default()
}

fn values(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}

/// Headers with names in small letters, several of a name in one; those of the connection are gone.
fn headers(entry: &Entry<'_>, sent: &HeaderMap, body_bytes: usize) -> Map<String, Value> {
    let mut headers = BTreeMap::new();
    for name in sent.keys() {
        let is_cookie = entry.is_api && name == header::COOKIE;
        if !is_cookie
            && ![
                header::CONNECTION,
                header::TRANSFER_ENCODING,
                header::EXPECT,
            ]
            .contains(name)
        {
            headers.insert(
                name.as_str(),
                values(sent, name.clone()).collect::<Vec<_>>().join(","),
            );
        }
    }
    if body_bytes > 0 {
        headers.insert("content-length", body_bytes.to_string());
    }
    let before = headers
        .get("x-forwarded-for")
        .map(|before| format!("{before}, "))
        .unwrap_or_default();
    headers.insert("x-forwarded-for", format!("{before}127.0.0.1"));
    headers.insert("x-forwarded-port", "443".to_owned());
    headers.insert("x-forwarded-proto", "https".to_owned());
    headers.insert(
        "x-amzn-trace-id",
        format!("Root=1-{:08x}-{:024x}", now_ms() / 1000, fastrand::u64(..)),
    );
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// Parameters without their codes, several of a name in one.
fn parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::<String, String>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (
            decoded(&name.replace('+', " ")),
            decoded(&value.replace('+', " ")),
        );
        parameters
            .entry(name)
            .and_modify(|before| *before = format!("{before},{value}"))
            .or_insert(value);
    }
    parameters
}

/// A body is text if its type says so, and Base64 everywhere else.
fn add_body(event: &mut Value, headers: &HeaderMap, body: &[u8]) {
    let is_packed = headers.contains_key(header::CONTENT_ENCODING);
    match std::str::from_utf8(body) {
        Ok(text) if !is_packed && is_text(get(headers, header::CONTENT_TYPE)) => {
            event["body"] = json!(text)
        }
        Ok(_) | Err(_) => {
            event["body"] = json!(STANDARD.encode(body));
            event["isBase64Encoded"] = json!(true);
        }
    }
}

fn is_text(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let known = [
        "application/json",
        "application/javascript",
        "application/xml",
    ];
    kind.starts_with("text/")
        || known.contains(&kind.as_str())
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

/// The response of an answer; none if it is not in the format. What has no status is the body itself.
pub fn response(answer: &[u8]) -> Option<Response<Body>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    if answer.get("statusCode").is_none() {
        let body = answer
            .as_str()
            .map_or_else(|| answer.to_string(), str::to_owned);
        return Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .ok();
    }
    let status = u16::try_from(number(&answer["statusCode"])?).ok()?;
    let mut response = Response::builder().status(status);
    for (name, value) in answer["headers"].as_object().into_iter().flatten() {
        let is_ours = ["content-length", "connection", "transfer-encoding"]
            .contains(&name.to_ascii_lowercase().as_str());
        if !is_ours {
            response = response.header(
                name,
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned),
            );
        }
    }
    for cookie in answer["cookies"].as_array().into_iter().flatten() {
        response = response.header(header::SET_COOKIE, cookie.as_str()?);
    }
    if !response.headers_ref()?.contains_key(header::CONTENT_TYPE) {
        response = response.header(header::CONTENT_TYPE, "application/json");
    }
    response.body(Body::from(body(&answer)?)).ok()
}

/// A number, or one in quotes.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn body(answer: &Value) -> Option<Vec<u8>> {
    let text = match &answer["body"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    if answer["isBase64Encoded"] == true {
        STANDARD.decode(text).ok()
    } else {
        Some(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn of(is_api: bool, request: axum::http::request::Builder, body: &[u8]) -> Value {
        let parts = request.body(()).unwrap().into_parts().0;
        let variables = vec![("proxy", "gcc-c%2B%2B")];
        event(
            &Entry {
                id: "abc",
                account: "000000000000",
                route: "$default",
                variables,
                is_api,
            },
            &parts,
            body,
        )
    }

    fn sent() -> axum::http::request::Builder {
        Request::get("/a+b/gcc-c%2B%2B%3Fx?q=1&q=a%20b+c&empty=&r=%2C")
            .header("Host", "web.example:80")
            .header("Cookie", "one=1; two=2")
            .header("X-Many", "a")
            .header("X-Many", "b")
            .header("User-Agent", "tests")
            .header("X-Forwarded-For", "192.0.2.1")
    }

    #[test]
    fn a_request_of_an_api_is_an_event() {
        let mut event = of(true, sent(), b"");
        assert_eq!(event["headers"]["x-many"], "a,b");
        assert_eq!(event["headers"]["x-forwarded-for"], "192.0.2.1, 127.0.0.1");
        assert_eq!(event["headers"].get("cookie"), None);
        let http = event["requestContext"]["http"].take();
        assert_eq!(event["requestContext"]["domainName"], "web.example:80");
        for changing in ["headers", "requestContext"] {
            event[changing] = Value::Null;
        }
        let expected = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/a+b/gcc-c++", "rawQueryString": "q=1&q=a%20b+c&empty=&r=%2C",
            "cookies": ["one=1", "two=2"], "headers": null, "requestContext": null, "isBase64Encoded": false,
            "queryStringParameters": { "q": "1,a b c", "empty": "", "r": "," }, "pathParameters": { "proxy": "gcc-c++" },
        });
        assert_eq!(event, expected);
        let expected = json!({
            "method": "GET", "path": "/a+b/gcc-c++", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "tests",
        });
        assert_eq!(http, expected);
    }

    #[test]
    fn an_address_of_a_function_leaves_paths_and_cookies_as_they_are() {
        let event = of(false, sent(), b"");
        assert_eq!(event["rawPath"], "/a+b/gcc-c%2B%2B%3Fx");
        assert_eq!(event["headers"]["cookie"], "one=1; two=2");
        assert_eq!(event["cookies"], json!(["one=1", "two=2"]));
    }

    #[test]
    fn a_body_is_text_where_its_type_says_so() {
        let typed = |kind: &str, body: &[u8]| {
            let event = of(true, Request::post("/").header("Content-Type", kind), body);
            (
                event["body"].as_str().unwrap().to_owned(),
                event["isBase64Encoded"] == true,
            )
        };
        assert_eq!(
            typed("application/json; charset=utf-8", b"{}"),
            ("{}".to_owned(), false)
        );
        assert_eq!(
            typed("application/x-www-form-urlencoded", b"hi"),
            ("aGk=".to_owned(), true)
        );
        assert_eq!(typed("text/plain", &[0xff]), ("/w==".to_owned(), true));
        assert_eq!(of(true, Request::get("/"), b"").get("body"), None);
    }

    #[test]
    fn an_answer_is_a_response() {
        let answer = json!({
            "statusCode": 201, "headers": { "X-One": "1", "Content-Length": "9" }, "cookies": ["a=1", "b=2"],
            "body": "aGk=", "isBase64Encoded": true,
        });
        let response = response(answer.to_string().as_bytes()).unwrap();
        let cookies: Vec<_> = values(response.headers(), header::SET_COOKIE).collect();
        assert_eq!(
            (response.status().as_u16(), cookies),
            (201, vec!["a=1", "b=2"])
        );
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(
            response.headers().get("content-length"),
            None,
            "that of the body is right"
        );
        assert_eq!(body(&answer).unwrap(), b"hi");
    }

    #[test]
    fn what_has_no_status_is_the_body() {
        assert_eq!(response(br#"{"a":1}"#).unwrap().status(), 200);
        assert!(response(b"no JSON").is_none());
        assert!(response(br#"{"statusCode":"two"}"#).is_none());
    }
}
