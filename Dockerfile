# docker build -t huiyi . && docker run --rm -v huiyi:/data -v "$PWD:/files" huiyi embed tickets.csv --text question -o tickets.npy
# docker run -p 127.0.0.1:30000:30000 -v huiyi:/data huiyi serve --model Qwen/Qwen3-Embedding-0.6B --host 0.0.0.0 (packaging/compose.yaml)
# tests/test_packaging.py runs these steps in a clean environment; no Docker engine is used there.
FROM python:3.12-slim

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt .

# Models and caches; any user may write there, so `docker run --user` works.
ENV HUIYI_HOME=/data
RUN mkdir -p -m 1777 /data
VOLUME /data

EXPOSE 30000
WORKDIR /files
ENTRYPOINT ["huiyi"]
CMD ["--help"]
