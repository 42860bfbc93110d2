//! Whether a sender knows the secret. Comparisons take the same time whatever is wrong.
//!
//! Docs: "Validating webhook deliveries" of GitHub, "Secret token" of GitLab's webhooks.

use super::one;
use crate::secret::Secret;
use hmac::{Hmac, Mac};
use hyper::header::HeaderMap;
use sha2::Sha256;

/// The name of GitHub's signature; its older one, over SHA-1, is not looked at.
const SIGNATURE: &str = "x-hub-signature-256";
const TOKEN: &str = "x-gitlab-token";

/// GitHub: an HMAC-SHA256 over the body as it came.
pub(super) fn github(headers: &HeaderMap, body: &[u8], secret: &Secret) -> bool {
    let Ok(Some(signature)) = one(headers, SIGNATURE) else {
        return false;
    };
    let signature = signature.strip_prefix("sha256=").and_then(bytes_of_hex);
    let Some(signature) = signature else {
        return false;
    };
    is_right(secret, body, &signature)
}

/// GitLab: the secret itself. Both are hashed, so that not even their lengths are compared.
pub(super) fn gitlab(headers: &HeaderMap, secret: &Secret) -> bool {
    let Ok(Some(token)) = one(headers, TOKEN) else {
        return false;
    };
    let Some(mut mac) = keyed(secret) else {
        return false;
    };
    mac.update(token.as_bytes());
    is_right(
        secret,
        secret.expose().as_bytes(),
        &mac.finalize().into_bytes(),
    )
}

fn is_right(secret: &Secret, message: &[u8], signature: &[u8]) -> bool {
    let Some(mut mac) = keyed(secret) else {
        return false;
    };
    mac.update(message);
    mac.verify_slice(signature).is_ok()
}

/// An empty secret is known to everybody.
fn keyed(secret: &Secret) -> Option<Hmac<Sha256>> {
    let key = secret.expose().as_bytes();
    if key.is_empty() {
        return None;
    }
    Hmac::new_from_slice(key).ok()
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    /// The example of GitHub's own documentation.
    #[test]
    fn github_signs_as_its_documentation_says() {
        let secret = Secret::new("It's a Secret to Everybody".to_owned());
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let body = b"Hello, World!";
        assert!(github(&headers(&[(SIGNATURE, good)]), body, &secret));
        for (name, pairs, body, secret) in [
            (
                "changed body",
                &[(SIGNATURE, good)][..],
                &b"Hello, World?"[..],
                "It's a Secret to Everybody",
            ),
            ("other secret", &[(SIGNATURE, good)], body, "another"),
            ("no secret", &[(SIGNATURE, good)], body, ""),
            ("missing", &[], body, "It's a Secret to Everybody"),
            (
                "twice",
                &[(SIGNATURE, good), (SIGNATURE, good)],
                body,
                "It's a Secret to Everybody",
            ),
            (
                "without its name",
                &[(SIGNATURE, &good[7..])],
                body,
                "It's a Secret to Everybody",
            ),
            (
                "short",
                &[(SIGNATURE, "sha256=75")],
                body,
                "It's a Secret to Everybody",
            ),
            (
                "SHA-1 alone",
                &[("x-hub-signature", good)],
                body,
                "It's a Secret to Everybody",
            ),
        ] {
            let secret = Secret::new(secret.to_owned());
            assert!(!github(&headers(pairs), body, &secret), "{name}");
        }
    }

    #[test]
    fn gitlab_sends_the_secret_itself() {
        let secret = Secret::new("a token".to_owned());
        assert!(gitlab(&headers(&[(TOKEN, "a token")]), &secret));
        for pairs in [
            &[][..],
            &[(TOKEN, "a toke")],
            &[(TOKEN, "a token2")],
            &[(TOKEN, "")],
            &[(TOKEN, "a token"), (TOKEN, "a token")],
        ] {
            assert!(!gitlab(&headers(pairs), &secret), "{pairs:?}");
        }
        assert!(!gitlab(
            &headers(&[(TOKEN, "")]),
            &Secret::new(String::new())
        ));
    }
}
