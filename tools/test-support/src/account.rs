//! The user that servers run as.

use crate::Result;

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Returns the account that servers run as instead of root: `postgres`, else `nobody`. Returns
    /// none if we are not root, because servers then run as the same user.
    pub(crate) fn unprivileged() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::find(&passwd, "postgres")
            .or_else(|| Self::find(&passwd, "nobody"))
            .map(Some)
            .ok_or_else(|| {
                "running as root, and the users `postgres` and `nobody` do not exist to run \
                 servers as"
                    .into()
            })
    }

    fn find(passwd: &str, user: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(user) {
                return None;
            }
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then_some(Self { uid, gid })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Account;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                          broken:x\n\
                          postgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        assert_eq!(
            Account::find(PASSWD, "postgres"),
            Some(Account { uid: 101, gid: 104 })
        );
        assert_eq!(Account::find(PASSWD, "post"), None);
        assert_eq!(Account::find(PASSWD, "broken"), None);
    }

    #[test]
    fn a_name_of_root_is_not_unprivileged() {
        assert_eq!(Account::find(PASSWD, "root"), None);
    }
}
