// A map of texts as points (WebGL 2), coloured by topic, all of them drawn in one call. Places are uint16 pairs, topics int32, as base64
// of little-endian bytes; texts are asked for point by point, so that a hundred thousand points are one megabyte. Names stand where there is room.
const LONGEST_NAME = 24, MOST_NAMES = 40, SETTLED_MS = 100, HOVER_MS = 120, NEAR_PX = 10, CLICK_PX = 4, CELLS = 256, MOST_ZOOM = 200;
const VERTEX = `#version 300 es
in vec2 place; in vec4 colour; uniform vec2 scale, shift; uniform float size; out vec4 shade;
void main() { gl_Position = vec4(place * scale + shift, 0, 1); gl_PointSize = size; shade = vec4(colour.rgb * colour.a, colour.a); }`;
const FRAGMENT = `#version 300 es
precision mediump float; in vec4 shade; out vec4 painted;
void main() { vec2 off = gl_PointCoord - .5; if (dot(off, off) > .25) discard; painted = shade; }`;
const numbers = (Kind, text) => new Kind((Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (c) => c.charCodeAt(0))).buffer);
const shade = (hex, alpha) => [...[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)), Math.round(255 * alpha)];

export default {
  template: `<div><canvas ref="canvas"></canvas><div ref="names" class="names"></div></div>`,
  props: { points: String, first: Array, colors: Array, outside: String, missing: String },
  mounted() {
    this.places = numbers(Uint16Array, this.points);
    this.canvas = this.$refs.canvas;
    this.gl = this.canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: false });
    if (!this.gl) this.$refs.names.textContent = this.missing;
    this.measure();
    this.prepare();
    this.listen();
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(this.$el);
    this.resize();
    this.show(...this.first);
  },
  unmounted() {
    this.resized.disconnect();
    for (const timer of [this.settling, this.hovering]) clearTimeout(timer);
    cancelAnimationFrame(this.frame);
    this.gl?.getExtension("WEBGL_lose_context")?.loseContext();
  },
  methods: {
    // labels: a topic a point, -1 none; names: [topic, name, x, y] largest first; on: a topic or null; keep: bytes, 0 for points to dim, or null
    show(labels, names, on, keep) {
      this.labels = numbers(Int32Array, labels);
      this.kept = keep ? numbers(Uint8Array, keep) : null;
      this.names = names;
      this.pick(on);
    },
    pick(on) {
      this.on = on;
      this.colour();
      this.name();
      this.fresh = true;
      this.request();
    },
    // Where the points lie: their middle, their width and height, and which of them are in each cell of a grid, for the one under a mouse.
    measure() {
      const { places } = this, count = places.length / 2, low = [65535, 65535], high = [0, 0];
      for (let at = 0; at < places.length; at++) {
        const axis = at & 1;
        if (places[at] < low[axis]) low[axis] = places[at];
        if (places[at] > high[axis]) high[axis] = places[at];
      }
      this.middle = [0, 1].map((axis) => (low[axis] + high[axis]) / 2 / 65535);
      this.spread = [0, 1].map((axis) => Math.max((high[axis] - low[axis]) / 65535, 1e-3));
      [this.centre, this.zoom] = [[...this.middle], 1];
      this.starts = new Uint32Array(CELLS * CELLS + 1);
      this.inside = new Uint32Array(count);
      const cell = (point) => (places[2 * point] >> 8) * CELLS + (places[2 * point + 1] >> 8);
      for (let point = 0; point < count; point++) this.starts[cell(point) + 1]++;
      for (let at = 0; at < CELLS * CELLS; at++) this.starts[at + 1] += this.starts[at];
      const next = this.starts.slice();
      for (let point = 0; point < count; point++) this.inside[next[cell(point)]++] = point;
    },
    prepare() {
      const { gl } = this;
      if (!gl) return;
      const program = gl.createProgram();
      for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const part = gl.createShader(kind);
        gl.shaderSource(part, source);
        gl.compileShader(part);
        gl.attachShader(program, part);
      }
      gl.linkProgram(program);
      gl.useProgram(program);
      this.uniforms = Object.fromEntries(["scale", "shift", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
      const buffer = (kind, values) => {
        const made = gl.createBuffer();
        gl.bindBuffer(kind, made);
        if (values) gl.bufferData(kind, values, gl.STATIC_DRAW);
        return made;
      };
      const attribute = (name, width, type) => {
        const at = gl.getAttribLocation(program, name);
        gl.enableVertexAttribArray(at);
        gl.vertexAttribPointer(at, width, type, true, 0, 0);
      };
      buffer(gl.ARRAY_BUFFER, this.places);
      attribute("place", 2, gl.UNSIGNED_SHORT);
      this.colours = buffer(gl.ARRAY_BUFFER);
      attribute("colour", 4, gl.UNSIGNED_BYTE);
      this.order = buffer(gl.ELEMENT_ARRAY_BUFFER);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    },
    // A colour a point; those that are dimmed are drawn first, below the others.
    colour() {
      const { gl, labels, kept, on } = this, count = labels.length;
      if (!gl) return;
      const dimmed = shade(this.outside, 0.12), none = shade(this.outside, 0.5), known = this.colors.map((hex) => shade(hex, 0.85));
      const colours = new Uint8Array(4 * count), order = new Uint32Array(count);
      let below = 0, above = count;
      for (let point = 0; point < count; point++) {
        const topic = labels[point], dim = (on !== null && topic !== on) || (kept !== null && !kept[point]);
        colours.set(dim ? dimmed : topic < 0 ? none : known[topic % known.length], 4 * point);
        if (dim) order[below++] = point;
        else order[--above] = point;
      }
      gl.bindBuffer(gl.ARRAY_BUFFER, this.colours);
      gl.bufferData(gl.ARRAY_BUFFER, colours, gl.STATIC_DRAW);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order, gl.STATIC_DRAW);
    },
    resize() {
      const { clientWidth: width, clientHeight: height } = this.$el, ratio = window.devicePixelRatio || 1;
      [this.width, this.height] = [Math.max(width, 1), Math.max(height, 1)];
      [this.canvas.width, this.canvas.height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
      this.fit = 0.92 * Math.min(this.width / this.spread[0], this.height / this.spread[1]);
      this.name();
      this.request();
    },
    request() {
      this.frame ||= requestAnimationFrame(() => {
        this.frame = 0;
        this.paint();
      });
    },
    paint() {
      const { gl, canvas, centre } = this, unit = this.fit * this.zoom, count = this.labels.length;
      const scale = [(2 * unit) / this.width, (2 * unit) / this.height];
      if (gl) {
        gl.viewport(0, 0, canvas.width, canvas.height);
        gl.clearColor(0, 0, 0, 0);
        gl.clear(gl.COLOR_BUFFER_BIT);
        gl.uniform2f(this.uniforms.scale, ...scale);
        gl.uniform2f(this.uniforms.shift, -centre[0] * scale[0], -centre[1] * scale[1]);
        const size = count > 20000 ? 3 : count > 2000 ? 5 : 8;
        gl.uniform1f(this.uniforms.size, (size * Math.min(3, Math.sqrt(this.zoom)) * canvas.width) / this.width);
        gl.drawElements(gl.POINTS, count, gl.UNSIGNED_INT, 0);
      }
      for (const { x, y, element } of this.shown) {
        const [left, top] = this.pixel(x, y);
        element.style.transform = `translate(${left}px, ${top}px) translate(-50%, -50%)`;
      }
      if (!this.fresh) return;
      this.fresh = false;
      gl?.finish();
      this.$el.dataset.drawn = String(Number(this.$el.dataset.drawn || 0) + 1);
    },
    pixel(x, y) {
      const unit = this.fit * this.zoom;
      return [this.width / 2 + (x - this.centre[0]) * unit, this.height / 2 - (y - this.centre[1]) * unit];
    },
    place(left, top) {
      const unit = this.fit * this.zoom;
      return [this.centre[0] + (left - this.width / 2) / unit, this.centre[1] - (top - this.height / 2) / unit];
    },
    moved() {
      this.request();
      clearTimeout(this.settling);
      this.settling = setTimeout(() => {
        this.name();
        this.request();
      }, SETTLED_MS);
    },
    zoomed(left, top, factor) {
      const before = this.place(left, top);
      this.zoom = Math.min(Math.max(this.zoom * factor, 0.5), MOST_ZOOM);
      const after = this.place(left, top);
      this.centre = this.centre.map((at, axis) => at + before[axis] - after[axis]);
      this.moved();
    },
    panned(right, down) {
      const unit = this.fit * this.zoom;
      this.centre = [this.centre[0] - right / unit, this.centre[1] + down / unit];
      this.moved();
    },
    listen() {
      const { canvas } = this, held = new Map();
      let way = 0;
      const middle = () => [0, 1].map((axis) => [...held.values()].reduce((sum, at) => sum + at[axis], 0) / held.size);
      const apart = () => {
        const [one, other] = [...held.values()];
        return other ? Math.hypot(one[0] - other[0], one[1] - other[1]) : 0;
      };
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        if (!held.size) way = 0;
        held.set(event.pointerId, [event.offsetX, event.offsetY]);
        canvas.setPointerCapture(event.pointerId);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!held.has(event.pointerId)) return this.hover(event.offsetX, event.offsetY);
        const [from, width] = [middle(), apart()];
        held.set(event.pointerId, [event.offsetX, event.offsetY]);
        const to = middle();
        way += Math.hypot(to[0] - from[0], to[1] - from[1]) + (held.size > 1 ? CLICK_PX : 0);
        this.panned(to[0] - from[0], to[1] - from[1]);
        if (width && apart()) this.zoomed(...to, apart() / width);
      });
      const released = (event) => {
        if (!held.delete(event.pointerId) || held.size || way > CLICK_PX || event.type !== "pointerup") return;
        const point = this.nearest(event.offsetX, event.offsetY);
        if (point !== null) this.$emit("point", { point, topic: this.labels[point] });
      };
      canvas.addEventListener("pointerup", released);
      canvas.addEventListener("pointercancel", released);
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        this.zoomed(event.offsetX, event.offsetY, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
      }, { passive: false });
      canvas.addEventListener("dblclick", () => {
        [this.centre, this.zoom] = [[...this.middle], 1];
        this.moved();
        this.$emit("all");
      });
      canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
      canvas.addEventListener("webglcontextrestored", () => {
        this.prepare();
        this.pick(this.on);
      });
    },
    hover(left, top) {
      clearTimeout(this.hovering);
      this.hovering = setTimeout(() => {
        const point = this.nearest(left, top);
        this.canvas.style.cursor = point === null ? "" : "pointer";
        if (point !== null && point !== this.told) this.$emit("over", { point });
        this.told = point;
      }, HOVER_MS);
    },
    nearest(left, top) {
      const near = NEAR_PX / (this.fit * this.zoom), at = this.place(left, top).map((value) => value * 65535), { places } = this;
      const [first, last] = [-1, 1].map((side) => at.map((value) => Math.min(Math.max((value + side * near * 65535) >> 8, 0), CELLS - 1)));
      let found = null, least = (near * 65535) ** 2;
      for (let column = first[0]; column <= last[0]; column++) {
        for (let k = this.starts[column * CELLS + first[1]]; k < this.starts[column * CELLS + last[1] + 1]; k++) {
          const point = this.inside[k], off = (places[2 * point] - at[0]) ** 2 + (places[2 * point + 1] - at[1]) ** 2;
          if (off < least) [found, least] = [point, off];
        }
      }
      return found;
    },
    // The names that stand apart from larger topics' names, as elements that every frame puts into their places.
    name() {
      if (!this.names || !this.gl) return;
      const taken = [];
      this.shown = [];
      for (const [topic, name, x, y] of this.names) {
        if (this.on !== null && topic !== this.on) continue;
        const short = [...name].length > LONGEST_NAME ? [...name].slice(0, LONGEST_NAME - 1).join("") + "…" : name;
        const width = [...short].reduce((sum, c) => sum + (c.charCodeAt(0) > 255 ? 14 : 8), 10), height = 22;
        const [left, top] = this.pixel(x, y), spot = [left - width / 2, top - height / 2, left + width / 2, top + height / 2];
        if (spot[0] < 0 || spot[1] < 0 || spot[2] > this.width || spot[3] > this.height) continue;
        if (taken.some((o) => spot[0] < o[2] && spot[2] > o[0] && spot[1] < o[3] && spot[3] > o[1])) continue;
        taken.push(spot);
        const element = document.createElement("span");
        element.textContent = short;
        this.shown.push({ x, y, element });
        if (this.shown.length >= MOST_NAMES) break;
      }
      this.$refs.names.replaceChildren(...this.shown.map(({ element }) => element));
    },
  },
};
