//! KServe's version 2 over gRPC.
//!
//! The messages are those fields of `inference.GRPCInferenceService` that a guard needs, with the numbers of KServe's
//! `grpc_predict_v2.proto` and Triton's `grpc_service.proto`, which are the same.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Uri, uri::PathAndQuery};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use tonic::{Code, Request, Status, body::Body, client, metadata::MetadataMap};
use tonic_prost::ProstCodec;

use super::{failure::Failure, kserve::Input};
use crate::connect::Connector;

/// Silence after which a connection is tried.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A client with its connections, one a server.
#[derive(Debug, Clone)]
pub(super) struct Grpc {
    client: Client<Connector, Body>,
    key: Option<(HeaderName, HeaderValue)>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ServerReadyRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelReadyRequest {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadyResponse {
    #[prost(bool, tag = "1")]
    ready: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelInferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<RequestedOutput>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestedOutput {
    #[prost(string, tag = "1")]
    name: String,
}

/// `InferInputTensor` and `InferOutputTensor`, which have the same fields.
#[derive(Clone, PartialEq, prost::Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Contents {
    #[prost(float, repeated, tag = "6")]
    fp32_contents: Vec<f32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ModelInferResponse {
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    raw_output_contents: Vec<Bytes>,
}

impl Grpc {
    pub(super) fn new(connector: Connector, key: Option<(HeaderName, HeaderValue)>) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.http2_only(true).timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        // All calls share one connection: one that has silently died must be noticed.
        builder.http2_keep_alive_interval(KEEP_ALIVE);
        Self { client: builder.build(connector), key }
    }

    pub(super) async fn ready(&self, server: &Uri, model: &str) -> Result<(), Failure> {
        let request = ModelReadyRequest { name: model.to_owned() };
        let all: ReadyResponse = self.call(server, "ServerReady", ServerReadyRequest {}).await?;
        let one: ReadyResponse = self.call(server, "ModelReady", request).await?;
        match (all.ready, one.ready) {
            (true, true) => Ok(()),
            (true, false) => Err(Failure::Broken(format!("has no model `{model}` ready"))),
            (false, _) => Err(Failure::Broken("is not ready".to_owned())),
        }
    }

    /// The numbers of the output; `None` if there is no such output.
    pub(super) async fn infer(
        &self,
        server: &Uri,
        model: &str,
        inputs: Vec<Input<'_>>,
        output: &str,
    ) -> Result<Option<Vec<f32>>, Failure> {
        let mut request = ModelInferRequest {
            model_name: model.to_owned(),
            outputs: vec![RequestedOutput { name: output.to_owned() }],
            ..ModelInferRequest::default()
        };
        for Input { name, shape, datatype, data } in inputs {
            let shape = shape.into_iter().map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
            let (name, datatype) = (name.to_owned(), datatype.to_owned());
            request.inputs.push(Tensor { name, datatype, shape, contents: None });
            request.raw_input_contents.push(data.iter().flat_map(|id| id.to_le_bytes()).collect());
        }
        let answer: ModelInferResponse = self.call(server, "ModelInfer", request).await?;
        read(answer, output)
    }

    async fn call<Q, A>(&self, server: &Uri, method: &str, question: Q) -> Result<A, Failure>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let path = format!("/inference.GRPCInferenceService/{method}");
        let path: PathAndQuery = path.parse().map_err(|_| Failure::Unfit(format!("has no method {method}")))?;
        let mut request = Request::new(question);
        let headers = self.key.iter().cloned().collect();
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let mut client = client::Grpc::with_origin(self.client.clone(), server.clone());
        client.ready().await.map_err(|e| Failure::Unreachable(e.to_string()))?;
        let answer = client.unary(request, path, ProstCodec::<Q, A>::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| refusal(&status, method))
    }
}

/// What a status means. Its message is not told: it may repeat the text.
fn refusal(status: &Status, method: &str) -> Failure {
    let mut cause = std::error::Error::source(status);
    let mut told = None;
    while let Some(inner) = cause {
        told = Some(inner.to_string());
        cause = inner.source();
    }
    // Only what failed on this side of the connection has a cause.
    if let Some(why) = told {
        return Failure::Unreachable(why);
    }
    let hint = match status.code() {
        Code::ResourceExhausted => return Failure::Overloaded,
        Code::Unauthenticated | Code::PermissionDenied => "; check `remote.key`",
        Code::NotFound => "; check `remote.model`",
        Code::Unimplemented => "; check `remote.urls`: gRPC has a port of its own",
        _ => "",
    };
    let why = format!("answered {method} with {:?}{hint}", status.code());
    match status.code() {
        Code::Unavailable | Code::Internal | Code::Unknown | Code::DeadlineExceeded | Code::Aborted => Failure::Broken(why),
        _ => Failure::Unfit(why),
    }
}

/// The numbers of an output, as they stand in its own message or in bytes beside all.
fn read(answer: ModelInferResponse, output: &str) -> Result<Option<Vec<f32>>, Failure> {
    let Some((number, tensor)) = answer.outputs.into_iter().enumerate().find(|(_, tensor)| tensor.name == output) else {
        return Ok(None);
    };
    if tensor.datatype != "FP32" {
        return Err(Failure::Unfit(format!("gave `{output}` as {}, a guard's graph gives FP32", tensor.datatype)));
    }
    let raw = answer.raw_output_contents.get(number);
    Ok(Some(match raw {
        Some(raw) => raw.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        None => tensor.contents.unwrap_or_default().fp32_contents,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, contents: Option<Contents>) -> Tensor {
        Tensor { name: name.to_owned(), datatype: "FP32".to_owned(), shape: vec![1, 2], contents }
    }

    #[test]
    fn outputs_are_read_in_both_forms() {
        let numbers = |raw: Vec<Bytes>, contents| {
            let outputs = vec![tensor("other", None), tensor("logits", contents)];
            read(ModelInferResponse { outputs, raw_output_contents: raw }, "logits").unwrap()
        };
        let bytes: Bytes = [1.5_f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        assert_eq!(numbers(vec![Bytes::new(), bytes], None), Some(vec![1.5, -2.0]));
        assert_eq!(numbers(Vec::new(), Some(Contents { fp32_contents: vec![3.0] })), Some(vec![3.0]));
        assert_eq!(read(ModelInferResponse::default(), "logits").unwrap(), None);
        let half = Tensor { datatype: "FP16".to_owned(), ..tensor("logits", None) };
        assert!(read(ModelInferResponse { outputs: vec![half], ..Default::default() }, "logits").is_err());
    }
}
