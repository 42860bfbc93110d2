//! TLS to a daemon: the files, and what went wrong in words that name the mend.

use super::endpoint::Tls;
use std::error::Error;
use std::io;
use std::path::Path;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

/// Read anew for each connection: certificates are renewed while we run.
pub fn client(files: &Tls) -> io::Result<ClientConfig> {
    let unread = |path: &Path, error: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {error}", path.display()))
    };
    let certificates = |path: &Path| {
        let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
            .map_err(|error| unread(path, &error))?
            .collect();
        found.map_err(|error| unread(path, &error))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        let added = roots.add(certificate);
        added.map_err(|error| unread(&files.ca, &error))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|error| unread(&files.key, &error))?;
    ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.cert)?, key)
        .map_err(|error| unread(&files.cert, &error))
}

/// Why no connection was made, and the mend; `None` when it was not for TLS.
pub fn words(error: &(dyn Error + 'static), files: &Tls) -> Option<String> {
    let ca = files.ca.display();
    Some(match cause(error)? {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the daemon's certificate has expired; renew it there".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the daemon's certificate is not valid yet; compare the clocks".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the daemon's certificate is for another name ({why}); write host as the \
                     certificate has it, or have it made for this one"
                )
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "the daemon's certificate is not signed by {ca}; write the CA that signed it as \
                 tls_ca"
            ),
            why => format!("the daemon's certificate is not valid: {why}; have it made anew"),
        },
        rustls::Error::InvalidMessage(_) => {
            "what answers there speaks no TLS; correct the port, or take tls_ca, tls_cert and \
             tls_key out"
                .to_owned()
        }
        _ => return rejected(error, files),
    })
}

/// That the daemon did not accept our certificate, and the mend; `None` when it ended for another
/// reason. It says so after its own part of the handshake, and has read nothing then.
pub fn rejected(error: &(dyn Error + 'static), files: &Tls) -> Option<String> {
    let rustls::Error::AlertReceived(alert) = cause(error)? else {
        return None;
    };
    let cert = files.cert.display();
    match alert {
        AlertDescription::CertificateExpired => {
            Some(format!("our certificate {cert} has expired; renew it"))
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => Some(format!(
            "the daemon does not accept our certificate {cert}: it has expired, or another CA \
             than the daemon's --tlscacert signed it; renew it there"
        )),
        _ => None,
    }
}

/// The TLS error behind an error, if there is one. An I/O error hides what it was made of from
/// its chain of sources.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Tls {
        Tls {
            ca: "/tls/ca.pem".into(),
            cert: "/tls/cert.pem".into(),
            key: "/tls/key.pem".into(),
        }
    }

    #[test]
    fn fault_067_a_tls_error_is_found_however_deep_and_names_the_mend() {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let deep = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, unknown));
        let text = words(&deep, &files()).expect("TLS");
        assert!(
            text.contains("/tls/ca.pem") && text.contains("tls_ca"),
            "{text}"
        );
        let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
        let text = words(&io::Error::other(alert), &files()).expect("TLS");
        assert!(
            text.contains("/tls/cert.pem") && text.contains("renew"),
            "{text}"
        );
        assert_eq!(words(&io::Error::other("no route"), &files()), None);
    }
}
