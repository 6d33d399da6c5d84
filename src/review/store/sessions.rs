//! Who is signed in.

use sqlx::Row as _;

use super::Store;
use crate::review::Error;

/// Most milliseconds by which a session's last call is written late, so that not every look writes.
const STEP: i64 = 60_000;

/// A session. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub name: String,
    /// What somebody may do whom another party vouched for; users of the settings have theirs there.
    pub role: Option<String>,
    /// What the session rests on.
    pub proof: String,
    /// When it began.
    pub created_ms: i64,
    /// When it ends.
    pub expires_ms: i64,
}

impl Store {
    /// Begins a session under the hash of its token, and forgets those that have ended.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn session_new(&self, token: &str, session: &Session) -> Result<(), Error> {
        let ended = sqlx::query("DELETE FROM sessions WHERE expires_ms <= $1").bind(session.created_ms);
        ended.execute(&self.writer).await.map_err(|e| self.fail(&e))?;
        let new = "INSERT INTO sessions (token, name, role, proof, created_ms, seen_ms, expires_ms) \
                   VALUES ($1, $2, $3, $4, $5, $5, $6)";
        sqlx::query(new)
            .bind(token)
            .bind(&session.name)
            .bind(&session.role)
            .bind(&session.proof)
            .bind(session.created_ms)
            .bind(session.expires_ms)
            .execute(&self.writer)
            .await
            .map_err(|e| self.fail(&e))?;
        Ok(())
    }

    /// The session of this token's hash, if it has not ended by now, and was used no longer ago than `idle`; which is a use.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn session_find(&self, token: &str, now: i64, idle: i64) -> Result<Option<Session>, Error> {
        let find = "SELECT name, role, proof, created_ms, seen_ms, expires_ms FROM sessions \
                    WHERE token = $1 AND expires_ms > $2 AND seen_ms > $3";
        let found = sqlx::query(find).bind(token).bind(now).bind(now.saturating_sub(idle));
        let Some(row) = found.fetch_optional(&self.pool).await.map_err(|e| self.fail(&e))? else { return Ok(None) };
        let read = || -> Result<(Session, i64), sqlx::Error> {
            let session = Session {
                name: row.try_get("name")?,
                role: row.try_get("role")?,
                proof: row.try_get("proof")?,
                created_ms: row.try_get("created_ms")?,
                expires_ms: row.try_get("expires_ms")?,
            };
            Ok((session, row.try_get("seen_ms")?))
        };
        let (session, seen) = read().map_err(|e| self.fail(&e))?;
        if now.saturating_sub(seen) >= STEP.min(idle / 2) {
            let used = sqlx::query("UPDATE sessions SET seen_ms = $2 WHERE token = $1 AND seen_ms < $2").bind(token).bind(now);
            used.execute(&self.writer).await.map_err(|e| self.fail(&e))?;
        }
        Ok(Some(session))
    }

    /// Ends the session of this token's hash.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn session_end(&self, token: &str) -> Result<(), Error> {
        let end = sqlx::query("DELETE FROM sessions WHERE token = $1").bind(token);
        end.execute(&self.writer).await.map_err(|e| self.fail(&e))?;
        Ok(())
    }

    /// Ends all sessions of somebody.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn sessions_end_of(&self, name: &str) -> Result<(), Error> {
        let end = sqlx::query("DELETE FROM sessions WHERE name = $1").bind(name);
        end.execute(&self.writer).await.map_err(|e| self.fail(&e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_end_by_age_idleness_and_will() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite://{}", dir.path().join("r.db").display())).await.unwrap();
        let session = |name: &str, created_ms| Session {
            name: name.to_owned(),
            role: (name == "bo").then(|| "viewer".to_owned()),
            proof: "user:1".to_owned(),
            created_ms,
            expires_ms: created_ms + 1_000_000,
        };
        let idle = 200_000;
        let (ana, bo) = (session("ana", 1_000), session("bo", 1_000));
        store.session_new("a", &ana).await.unwrap();
        store.session_new("b", &bo).await.unwrap();
        let find = async |token: &str, now| store.session_find(token, now, idle).await.unwrap();
        assert_eq!((find("a", 1_000).await, find("b", 1_000).await, find("c", 1_000).await), (Some(ana), Some(bo), None));
        // Each look is a use.
        for now in (100_000..1_000_000).step_by(100_000) {
            assert!(find("a", now).await.is_some(), "{now}");
        }
        assert_eq!(find("b", 201_000).await, None, "idle");
        assert_eq!(find("a", 1_001_000).await, None, "old");
        store.session_new("c", &session("ana", 2_000_000)).await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions").fetch_one(&store.pool).await.unwrap();
        assert_eq!(left, 1, "what has ended is forgotten");
        store.session_new("d", &session("ana", 2_000_000)).await.unwrap();
        store.session_end("c").await.unwrap();
        assert!(find("c", 2_000_000).await.is_none() && find("d", 2_000_000).await.is_some());
        store.sessions_end_of("ana").await.unwrap();
        assert_eq!(find("d", 2_000_000).await, None);
    }
}
