//! Headers that belong to one connection and not to the message: what goes on, what does not.
//! Pure.

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

/// What belongs to a connection, besides what its own header names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// The addresses a request came through.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a message asks to leave HTTP on this connection, or agrees to.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
        && headers
            .get_all(CONNECTION)
            .iter()
            .any(|value| names(value).any(|name| name.eq_ignore_ascii_case("upgrade")))
}

/// Makes a client's headers those of the request to the server. `client` is its address.
pub(super) fn to_server(headers: &mut HeaderMap, client: &HeaderValue) {
    if headers.keys().any(is_hop_by_hop) {
        if headers.contains_key(TRANSFER_ENCODING) {
            // The length beside a transfer coding is a lie or a trap (RFC 9112 6.3).
            headers.remove(CONTENT_LENGTH);
        }
        let takes_trailers = headers
            .get(TE)
            .is_some_and(|value| names(value).any(|name| name.eq_ignore_ascii_case("trailers")));
        strip(headers);
        if takes_trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
    add_forwarded_for(headers, client);
}

/// Makes a server's headers those of the answer to the client.
pub(super) fn to_client(headers: &mut HeaderMap) {
    if headers.keys().any(is_hop_by_hop) {
        strip(headers);
    }
}

/// Whether a header is the connection's. Most messages have none, which one look over the names
/// tells sooner than a search for each.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}

/// Removes what belongs to the connection, leaving an upgrade as it was.
fn strip(headers: &mut HeaderMap) {
    let upgrade = is_upgrade(headers)
        .then(|| headers.get(UPGRADE).cloned())
        .flatten();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(names)
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

fn names(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or("").split(',').map(str::trim)
}

fn add_forwarded_for(headers: &mut HeaderMap, client: &HeaderValue) {
    let mut chain = Vec::new();
    for earlier in headers.get_all(X_FORWARDED_FOR) {
        if earlier.to_str().is_ok() {
            chain.extend_from_slice(earlier.as_bytes());
            chain.extend_from_slice(b", ");
        }
    }
    if chain.is_empty() {
        headers.insert(X_FORWARDED_FOR, client.clone());
        return;
    }
    chain.extend_from_slice(client.as_bytes());
    if let Ok(value) = HeaderValue::try_from(chain) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const CLIENT: HeaderValue = HeaderValue::from_static("10.0.0.9");

    #[test]
    fn what_belongs_to_the_connection_stays_behind_and_the_rest_goes_on() {
        let mut headers = map(&[
            ("host", "shop"),
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("x-forwarded-for", "1.2.3.4"),
            ("cookie", "a=b"),
        ]);
        to_server(&mut headers, &CLIENT);
        let expected = map(&[
            ("host", "shop"),
            ("cookie", "a=b"),
            ("te", "trailers"),
            ("x-forwarded-for", "1.2.3.4, 10.0.0.9"),
        ]);
        assert_eq!(headers, expected);
    }

    #[test]
    fn an_upgrade_is_passed_on() {
        let mut headers = map(&[
            ("connection", "Keep-Alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert!(is_upgrade(&headers));
        to_server(&mut headers, &CLIENT);
        assert_eq!(headers[UPGRADE], "websocket");
        assert_eq!(headers[CONNECTION], "upgrade");
        assert!(!is_upgrade(&map(&[("upgrade", "h2c")])));
    }

    #[test]
    fn a_server_that_closes_its_connection_does_not_close_the_clients() {
        let mut headers = map(&[("connection", "close"), ("x-version", "2")]);
        to_client(&mut headers);
        assert_eq!(headers, map(&[("x-version", "2")]));
    }
}
