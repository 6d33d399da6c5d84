//! KServe's version 2, the Open Inference Protocol, as Triton serves it: the tensors of the guard's own graph.
//!
//! Over HTTP all of a tensor goes as JSON, which every server reads; the binary extension is Triton's own. gRPC sends bytes.

use http::Uri;
use serde::{Deserialize, Serialize};

use super::{failure::Failure, grpc::Grpc, http::Http};
use crate::guard::{Window, manifest::Manifest};

#[derive(Debug)]
pub(super) struct Kserve {
    pub(super) way: Way,
    pub(super) manifest: Manifest,
    pub(super) model: String,
}

#[derive(Debug)]
pub(super) enum Way {
    Http(Http),
    Grpc(Grpc),
}

/// An input: int64 in rows.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Input<'i> {
    pub(super) name: &'i str,
    pub(super) shape: Vec<usize>,
    pub(super) datatype: &'static str,
    pub(super) data: Vec<i64>,
}

#[derive(Debug, Serialize)]
struct Question<'q> {
    inputs: Vec<Input<'q>>,
    outputs: [Named<'q>; 1],
}

#[derive(Debug, Serialize)]
struct Named<'n> {
    name: &'n str,
}

#[derive(Debug, Deserialize)]
struct Answer {
    outputs: Vec<Output>,
}

#[derive(Debug, Deserialize)]
struct Output {
    name: String,
    data: Vec<f32>,
}

impl Kserve {
    pub(super) async fn ready(&self, server: &Uri) -> Result<(), Failure> {
        match &self.way {
            Way::Http(http) => {
                http.ready(server, "/v2/health/ready").await?;
                http.ready(server, &format!("/v2/models/{}/ready", self.model)).await
            }
            Way::Grpc(grpc) => grpc.ready(server, &self.model).await,
        }
    }

    /// One call for all windows, padded to the longest.
    pub(super) async fn score(&self, server: &Uri, windows: &[Window]) -> Result<Vec<f32>, Failure> {
        let inputs = inputs(&self.manifest, windows);
        let name = self.manifest.output.name.as_str();
        let logits = match &self.way {
            Way::Http(http) => {
                let path = format!("/v2/models/{}/infer", self.model);
                let answer: Answer = http.post(server, &path, &Question { inputs, outputs: [Named { name }] }).await?;
                answer.outputs.into_iter().find(|output| output.name == name).map(|output| output.data)
            }
            Way::Grpc(grpc) => grpc.infer(server, &self.model, inputs, name).await?,
        };
        let logits = logits.ok_or_else(|| Failure::Unfit(format!("gave no output `{name}`")))?;
        read(&self.manifest, windows, &logits)
    }
}

/// The scores in a row of logits for each window.
fn read(manifest: &Manifest, windows: &[Window], logits: &[f32]) -> Result<Vec<f32>, Failure> {
    let tasks = [Some(&manifest.tasks.prompt), manifest.tasks.response.as_ref()];
    let least = tasks.into_iter().flatten().flat_map(|task| &task.unsafe_columns).max().map_or(1, |column| column + 1);
    let columns = logits.len() / windows.len().max(1);
    if columns < least || columns * windows.len() != logits.len() {
        let (got, rows) = (logits.len(), windows.len());
        return Err(Failure::Unfit(format!("gave {got} logits for {rows} rows of {least} columns or more")));
    }
    let rows = windows.iter().zip(logits.chunks(columns));
    Ok(rows.map(|(window, row)| manifest.task(window.task).probability(manifest.output.activation, row)).collect())
}

/// The graph's inputs for these windows, padded on the right.
fn inputs<'m>(manifest: &'m Manifest, windows: &[Window]) -> Vec<Input<'m>> {
    let lengths = windows.iter().map(|window| window.ids.len());
    let width = lengths.clone().max().unwrap_or(0);
    let rows = |cell: &dyn Fn(Option<u32>) -> i64| -> Vec<i64> {
        let row = |window: &Window| (0..width).map(|at| cell(window.ids.get(at).copied())).collect::<Vec<_>>();
        windows.iter().flat_map(row).collect()
    };
    let input = |name: &'m str, data: Vec<i64>| Input { name, shape: vec![windows.len(), width], datatype: "INT64", data };
    let mut inputs = vec![input(&manifest.inputs.ids, rows(&|id| id.map_or(manifest.tokens.pad, i64::from)))];
    if let Some(mask) = &manifest.inputs.mask {
        inputs.push(input(mask, rows(&|id| i64::from(id.is_some()))));
    }
    if let Some(types) = &manifest.inputs.types {
        inputs.push(input(types, rows(&|_| 0)));
    }
    if let Some(name) = &manifest.inputs.lengths {
        let data = lengths.map(|length| i64::try_from(length).unwrap_or(i64::MAX)).collect();
        inputs.push(Input { name, shape: vec![windows.len()], datatype: "INT64", data });
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Task;

    const MANIFEST: &str = r#"
        format = 1
        name = "g"
        version = "1"
        kind = "decoder-label"
        licence = "none"
        languages = []
        files = { tokenizer = { path = "t", sha256 = "" }, golden = { path = "g", sha256 = "" } }
        inputs = { ids = "input_ids", lengths = "lengths" }
        output = { name = "label_logits", activation = "softmax" }
        tokens = { max = 8, window = 6, stride = 4, pad = 9 }
        tasks = { prompt = { unsafe = [1], template = [{ slot = "text" }], threshold = 0.5 } }
        golden = { tolerance = 0.02 }
    "#;

    fn window(ids: &[u32]) -> Window {
        Window { range: 0..1, ids: ids.to_vec(), task: Task::Prompt, words: None }
    }

    #[test]
    fn rows_are_padded_on_the_right_and_read_each_by_itself() {
        let manifest: Manifest = toml::from_str(MANIFEST).unwrap();
        let windows = [window(&[1, 2, 3]), window(&[4])];
        let told: Vec<_> = inputs(&manifest, &windows).into_iter().map(|input| (input.name, input.shape, input.data)).collect();
        assert_eq!(told, [("input_ids", vec![2, 3], vec![1, 2, 3, 4, 9, 9]), ("lengths", vec![2], vec![3, 1])]);
        let scores = read(&manifest, &windows, &[0.0, 0.0, 0.0, 100.0]).unwrap();
        assert_eq!(scores, [0.5, 1.0]);
        for logits in [&[0.0, 0.0, 1.0][..], &[0.0, 1.0], &[]] {
            assert!(read(&manifest, &windows, logits).unwrap_err().to_string().contains("for 2 rows of 2 columns or more"));
        }
    }
}
