//! Who is at the other end of a socket, as the kernel says.
//!
//! Must not trust anything the peer sends.

use crate::model::{Actor, Clean};
use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Where user names come from.
const PASSWD: &str = "/etc/passwd";

/// Most of that file that is read; far above any machine's own accounts.
const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

/// Longest user name that is shown.
const USER_CHARS_MAX: usize = 64;

/// A process at the other end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its user id when it connected (or, for a server, when it began to listen).
    pub uid: u32,
    /// Its process id then; for people's eyes only, since ids are reused.
    pub pid: Option<i32>,
}

impl Peer {
    /// Asks the kernel.
    ///
    /// # Errors
    /// When the kernel does not say; the peer must then be refused.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self {
            uid: credentials.uid(),
            pid: credentials.pid(),
        })
    }

    /// The person, with the name the machine gives their uid, else "uid N". Reads `/etc/passwd`.
    pub async fn person(&self) -> Actor {
        let known = read_passwd().await.unwrap_or_default();
        let user = match user_in(&known, self.uid) {
            Some(user) => Clean::line(user, USER_CHARS_MAX),
            None => Clean::new(&format!("uid {}", self.uid)),
        };
        Actor::Person {
            uid: self.uid,
            user,
        }
    }
}

/// The user id this process acts with.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

async fn read_passwd() -> io::Result<String> {
    let mut bytes = Vec::new();
    let file = tokio::fs::File::open(PASSWD).await?;
    file.take(PASSWD_BYTES_MAX).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first name with this uid, as the C library would find it.
fn user_in(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = fields.next().filter(|user| !user.is_empty())?;
        let found = fields.nth(1)?.parse::<u32>().ok()?;
        (found == uid).then_some(user)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_matching_account_names_a_uid_and_broken_lines_are_passed_over() {
        let passwd = "root:x:0:0::/root:/bin/sh\n\n::7:\n#x\nbad:x:abc:\nada:x:1000:1000::/:\nalias:x:1000:1000::/:\n";
        assert_eq!(user_in(passwd, 0), Some("root"));
        assert_eq!(user_in(passwd, 1000), Some("ada"));
        assert_eq!(user_in(passwd, 7), None, "an account without a name");
        assert_eq!(user_in(passwd, 1), None);
    }

    #[tokio::test]
    async fn an_unknown_uid_is_shown_as_a_number() {
        let peer = Peer {
            uid: 4_123_456_789,
            pid: None,
        };
        assert_eq!(peer.person().await.to_string(), "uid 4123456789");
    }
}
