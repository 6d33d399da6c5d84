//! What types alone cannot tell of the settings: bounds, and names that must be there.

use super::{Config, DEFAULT_UPSTREAM, Wrong, guard, identity, nearest};

impl Config {
    /// The first setting that says otherwise than it can be.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let positive = [
            ("listen.max_body_bytes", self.listen.max_body_bytes),
            ("listen.max_connections", self.listen.max_connections),
            ("listen.max_calls", self.listen.max_calls),
            ("listen.write_timeout_ms", usize::try_from(self.listen.write_timeout_ms).unwrap_or(usize::MAX)),
            ("stream.first_chars", self.stream.first_chars),
            ("stream.step_chars", self.stream.step_chars),
            ("stream.idle_ms", usize::try_from(self.stream.idle_ms).unwrap_or(usize::MAX)),
            ("policies.poll_ms", self.policies.poll_ms.map_or(usize::MAX, |ms| usize::try_from(ms).unwrap_or(usize::MAX))),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err((key.to_owned(), "must be more than 0".to_owned()));
        }
        if self.listen.max_header_bytes < 8192 {
            return Err(("listen.max_header_bytes".to_owned(), "must be at least 8192".to_owned()));
        }
        self.guard.check("guard")?;
        guard::check(&self.guards)?;
        identity::check(self)?;
        self.admin.check()?;
        self.review.check()?;
        self.telemetry.otlp.check()?;
        self.cache.check()?;
        for (name, upstream) in self.named_upstreams() {
            let key =
                |field: &str| name.map_or_else(|| format!("upstream.{field}"), |name| format!("upstreams.{name}.{field}"));
            if name == Some(DEFAULT_UPSTREAM) {
                return Err((
                    format!("upstreams.{DEFAULT_UPSTREAM}"),
                    "is what policies call `[upstream]`: choose another name".to_owned(),
                ));
            }
            if upstream.max_body_bytes == 0 {
                return Err((key("max_body_bytes"), "must be more than 0".to_owned()));
            }
            let mut pass = upstream.pass.iter();
            if let Some(line) = pass.find(|line| line.split_once(" /").is_none_or(|(method, _)| method.is_empty())) {
                return Err((key("pass"), format!("`{line}` is not a method and a path, such as `GET /v1/models`")));
            }
        }
        for (number, route) in self.routes.iter().enumerate() {
            let key = |field: &str| format!("routes.{number}.{field}");
            if !self.upstreams.contains_key(&route.upstream) {
                let near = nearest(&route.upstream, self.upstreams.keys().map(String::as_str));
                let hint =
                    near.map_or_else(|| "no `[upstreams.NAME]` is set".to_owned(), |name| format!("did you mean `{name}`?"));
                return Err((key("upstream"), format!("`{}` is no upstream; {hint}", route.upstream)));
            }
            if !route.prefix.is_empty() && (!route.prefix.starts_with('/') || route.prefix.ends_with('/')) {
                return Err((key("prefix"), "must begin with `/` and not end with it, such as `/azure`".to_owned()));
            }
            if route.name.as_deref() == Some("") {
                return Err((key("name"), "is what policies call calls that no route takes: choose another".to_owned()));
            }
            if route.prefix.is_empty() && route.host.is_none() {
                return Err((format!("routes.{number}"), "must have a `prefix`, a `host`, or both".to_owned()));
            }
        }
        Ok(())
    }
}
