//! vLLM's OpenAI server: the probabilities of the labels as the first token after exactly our token ids.
//!
//! The prompt goes as token ids (`/v1/completions`), so the server applies no chat template and no text can forge a control
//! token. Which fields bring the labels' log-probabilities depends on the server's version, so all that do are sent; versions
//! that do not know one ignore it:
//! - `logprob_token_ids` gives exactly those of the labels (vllm-project/vllm pull request 43463, May 2026).
//! - `allowed_token_ids` makes the greater label the sampled token, which is always told, whatever its rank. Servers that tell
//!   what they sample from (`--logprobs-mode processed_logprobs`, and all of version 0's engine) then tell both labels.
//! - `logprobs` tells the likeliest tokens before any of that (`raw_logprobs`, the default since the new engine). A label
//!   that is not among them is no likelier than the least likely of them.
//!
//! A softmax over the labels needs no more: whether the server tells probabilities of all tokens, of the allowed ones or
//! plain logits, the differences are the same. Penalties and cuts of a model's `generation_config.json` would change them, so
//! they are turned off by name.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{failure::Failure, http::Http, label};
use crate::guard::{Window, manifest::Manifest};

#[derive(Debug)]
pub(super) struct Vllm {
    pub(super) http: Http,
    pub(super) manifest: Manifest,
    pub(super) labels: Vec<u32>,
    pub(super) model: String,
    pub(super) top: u32,
}

#[derive(Debug, Serialize)]
struct Question<'q> {
    model: &'q str,
    prompt: &'q [u32],
    max_tokens: u32,
    logprobs: u32,
    allowed_token_ids: &'q [u32],
    logprob_token_ids: &'q [u32],
    return_tokens_as_token_ids: bool,
    #[serde(flatten)]
    sampling: Sampling,
}

/// Greedy, and nothing that changes probabilities.
#[derive(Debug, Serialize)]
struct Sampling {
    temperature: f32,
    top_p: f32,
    top_k: i32,
    min_p: f32,
    repetition_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
}

const PLAIN: Sampling = Sampling {
    temperature: 0.0,
    top_p: 1.0,
    top_k: -1,
    min_p: 0.0,
    repetition_penalty: 1.0,
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
};

#[derive(Debug, Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    logprobs: Option<Logprobs>,
}

#[derive(Debug, Deserialize)]
struct Logprobs {
    /// By token, for each that was answered.
    top_logprobs: Vec<BTreeMap<String, f32>>,
}

impl Vllm {
    pub(super) async fn ready(&self, server: &Uri) -> Result<(), Failure> {
        self.http.ready(server, "/health").await
    }

    /// A call for each window: the server makes its own batches.
    pub(super) async fn score(&self, server: &Uri, windows: &[Window]) -> Result<Vec<f32>, Failure> {
        try_join_all(windows.iter().map(|window| self.one(server, window))).await
    }

    async fn one(&self, server: &Uri, window: &Window) -> Result<f32, Failure> {
        let question = Question {
            model: &self.model,
            prompt: &window.ids,
            max_tokens: 1,
            logprobs: self.top,
            allowed_token_ids: &self.labels,
            logprob_token_ids: &self.labels,
            return_tokens_as_token_ids: true,
            sampling: PLAIN,
        };
        let answer: Answer = self.http.post(server, "/v1/completions", &question).await?;
        let (told, bound) = read(answer, &self.labels)?;
        label::score(self.manifest.task(window.task), &told, bound)
    }
}

/// The labels' log-probabilities, and the least of all that were told.
fn read(answer: Answer, labels: &[u32]) -> Result<(Vec<Option<f32>>, f32), Failure> {
    let choice = answer.choices.into_iter().next().and_then(|choice| choice.logprobs);
    let likeliest = choice.and_then(|logprobs| logprobs.top_logprobs.into_iter().next());
    let likeliest = likeliest.ok_or_else(|| Failure::Unfit("told no probabilities: is it a vLLM server?".to_owned()))?;
    let mut tokens = BTreeMap::new();
    for (token, logprob) in likeliest {
        let id = token.strip_prefix("token_id:").and_then(|id| id.parse::<u32>().ok());
        let id = id.ok_or_else(|| {
            Failure::Unfit("names tokens by their text: start vLLM with --return-tokens-as-token-ids".to_owned())
        })?;
        tokens.insert(id, logprob);
    }
    let bound = tokens.values().copied().fold(f32::INFINITY, f32::min);
    Ok((labels.iter().map(|id| tokens.get(id).copied()).collect(), bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Result<(Vec<Option<f32>>, f32), Failure> {
        read(serde_json::from_str(json).unwrap(), &[12977, 30908])
    }

    #[test]
    fn labels_are_found_by_their_ids() {
        let both = r#"{"id": "x", "choices": [{"text": "safe", "logprobs": {"tokens": ["token_id:12977"],
            "top_logprobs": [{"token_id:12977": -0.1, "token_id:30908": -2.5, "token_id:7": -9999.0}]}}]}"#;
        assert_eq!(told(both).unwrap(), (vec![Some(-0.1), Some(-2.5)], -9999.0));
        let one = both.replace("30908", "8");
        assert_eq!(told(&one).unwrap().0, [Some(-0.1), None]);
    }

    #[test]
    fn other_answers_are_no_scores() {
        for (json, why) in [
            (r#"{"choices": []}"#, "told no probabilities"),
            (r#"{"choices": [{"logprobs": null}]}"#, "told no probabilities"),
            (r#"{"choices": [{"logprobs": {"top_logprobs": [{"safe": -0.1}]}}]}"#, "--return-tokens-as-token-ids"),
        ] {
            assert!(told(json).unwrap_err().to_string().contains(why));
        }
    }
}
