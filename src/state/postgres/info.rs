//! The database itself.

use super::super::{StateError, StateInfo};
use super::Postgres;

impl Postgres {
    pub(in super::super) async fn info(&self) -> Result<StateInfo, StateError> {
        let engine = self
            .patiently(|| async {
                sqlx::query_scalar("SELECT 'postgresql ' || current_setting('server_version')")
                    .fetch_one(&self.pool)
                    .await
                    .map_err(self.reading())
            })
            .await?;
        let counts = self
            .patiently(|| async {
                sqlx::query_as(
                    "SELECT (SELECT count(*) FROM runs), \
                     (SELECT count(*) FROM runs WHERE status = 'running'), \
                     (SELECT count(*) FROM records), (SELECT count(*) FROM objects), \
                     (SELECT max(version) FROM _sqlx_migrations), \
                     pg_database_size(current_database())",
                )
                .fetch_one(&self.pool)
                .await
                .map_err(self.reading())
            })
            .await?;
        Ok(StateInfo::new(engine, counts))
    }
}
