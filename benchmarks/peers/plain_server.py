"""What one writes first: FastAPI around sentence-transformers, OpenAI's route, one call of `encode` a request.

python benchmarks/peers/plain_server.py FOLDER PORT THREADS
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class Request(BaseModel):
    input: str | list[str]
    model: str = ""


def app(folder: str) -> FastAPI:
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    app = FastAPI()

    @app.post("/v1/embeddings")
    def embeddings(request: Request):
        texts = [request.input] if isinstance(request.input, str) else request.input
        rows = model.encode(texts, batch_size=8, show_progress_bar=False, convert_to_tensor=True, normalize_embeddings=True)
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows.float().tolist())]
        return {"object": "list", "data": data, "model": request.model}

    @app.get("/ready")
    def ready():
        return {}

    return app


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    uvicorn.run(app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
