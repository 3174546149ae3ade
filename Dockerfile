# docker build -t huiyi . && docker run --rm -v huiyi:/data -v "$PWD:/files" huiyi embed tickets.csv --text question -o tickets.npy
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

WORKDIR /files
ENTRYPOINT ["huiyi"]
CMD ["--help"]
