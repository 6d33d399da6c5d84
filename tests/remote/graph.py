"""A guard's ONNX graph as an MLServer model: tensors in, logits out, and nothing of Seawall's in between."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Graph(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: NumpyCodec.decode_input(tensor).astype(np.int64) for tensor in payload.inputs}
        names = [tensor.name for tensor in payload.outputs]
        outputs = zip(names, self.session.run(names, inputs), strict=True)
        encoded = [NumpyCodec.encode_output(name, logits.astype(np.float32)) for name, logits in outputs]
        return InferenceResponse(model_name=self.name, outputs=encoded)
