// A map of texts as points (WebGL), coloured by topic. Points and labels come as base64 of little-endian numbers; texts are asked for
// point by point, so that a hundred thousand points are two megabytes. Names are drawn where there is room.
const numbers = (Kind, text) => new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");
const LONGEST_NAME = 24, MOST_NAMES = 40, HOVER_MS = 120;

export default {
  template: "<div></div>",
  props: { x: String, y: String, colors: Array, outside: String },
  async mounted() {
    const { Plotly } = await import("nicegui-plotly");
    this.plotly = Plotly;
    this.points = [numbers(Float32Array, this.x), numbers(Float32Array, this.y)];
    this.resized = new ResizeObserver(() => this.drawn && Plotly.Plots.resize(this.$el).then(() => this.name()));
    this.resized.observe(this.$el);
    this.$emit("ready");
  },
  unmounted() {
    this.resized?.disconnect();
    clearTimeout(this.naming);
    clearTimeout(this.hovering);
    if (this.drawn) this.plotly.purge(this.$el);
  },
  methods: {
    // labels: int32 a point, names: [topic, name, x, y] largest first, on: a topic or null, keep: bytes, 0 for points that are dimmed
    async show(labels, names, on, keep) {
      if (!this.plotly) return;
      this.labels = numbers(Int32Array, labels);
      this.kept = keep ? numbers(Uint8Array, keep) : null;
      this.names = names;
      this.on = on;
      await this.draw();
    },
    async pick(on) {
      this.on = on;
      await this.draw();
    },
    async draw() {
      const [x, y] = this.points, count = this.colors.length, groups = Array.from({ length: count + 2 }, () => []);
      for (let i = 0; i < this.labels.length; i++) {
        const topic = this.labels[i], dim = (this.on !== null && topic !== this.on) || (this.kept && !this.kept[i]);
        groups[dim ? 0 : topic < 0 ? 1 : 2 + (topic % count)].push(i);
      }
      this.order = groups.filter((group) => group.length);
      const size = this.labels.length > 20000 ? 3 : this.labels.length > 2000 ? 5 : 8;
      const traces = groups.map((group, at) => ({
        type: "scattergl", mode: "markers", hoverinfo: "none", showlegend: false,
        x: Float32Array.from(group, (i) => x[i]), y: Float32Array.from(group, (i) => y[i]),
        marker: { size, color: at < 2 ? this.outside : this.colors[at - 2], opacity: at === 0 ? 0.12 : at === 1 ? 0.5 : 0.85 },
      })).filter((trace) => trace.x.length);
      const axis = { visible: false, showgrid: false, zeroline: false };
      const kept = this.drawn ? this.$el.layout : null;
      const layout = {
        xaxis: { ...axis, ...(kept && { range: kept.xaxis.range, autorange: false }) },
        yaxis: { ...axis, scaleanchor: "x", ...(kept && { range: kept.yaxis.range, autorange: false }) },
        hovermode: "closest", dragmode: "pan", margin: { l: 4, r: 4, t: 4, b: 4 },
        paper_bgcolor: "transparent", plot_bgcolor: "transparent", annotations: [],
      };
      const config = { scrollZoom: true, displaylogo: false, displayModeBar: false, responsive: false };
      await (this.drawn ? this.plotly.react : this.plotly.newPlot)(this.$el, traces, layout, config);
      if (!this.drawn) this.listen();
      this.drawn = true;
      await this.name();
      this.$el.dataset.drawn = String(Number(this.$el.dataset.drawn || 0) + 1);
      this.$emit("drawn");
    },
    listen() {
      const point = (event) => this.order[event.points[0].curveNumber]?.[event.points[0].pointNumber];
      this.$el.on("plotly_click", (event) => this.$emit("point", { point: point(event), topic: this.labels[point(event)] }));
      this.$el.on("plotly_hover", (event) => {
        clearTimeout(this.hovering);
        this.hovering = setTimeout(() => this.$emit("over", { point: point(event) }), HOVER_MS);
      });
      this.$el.on("plotly_relayout", (change) => {
        if ("annotations" in change) return;
        clearTimeout(this.naming);
        this.naming = setTimeout(() => this.name(), 100);
      });
      this.$el.on("plotly_doubleclick", () => { this.$emit("all"); });
    },
    async name() {
      const box = this.$el._fullLayout;
      if (!box?.xaxis) return;
      const style = getComputedStyle(this.$el), taken = [], shown = [];
      for (const [topic, name, x, y] of this.names) {
        if (this.on !== null && topic !== this.on) continue;
        const short = [...name].length > LONGEST_NAME ? [...name].slice(0, LONGEST_NAME - 1).join("") + "…" : name;
        const width = [...short].reduce((sum, c) => sum + (c.charCodeAt(0) > 255 ? 14 : 8), 10), height = 22;
        const px = box.xaxis.l2p(x), py = box.yaxis.l2p(y);
        const spot = [px - width / 2, py - height / 2, px + width / 2, py + height / 2];
        if (spot[0] < 0 || spot[1] < 0 || spot[2] > box.xaxis._length || spot[3] > box.yaxis._length) continue;
        if (taken.some((o) => spot[0] < o[2] && spot[2] > o[0] && spot[1] < o[3] && spot[3] > o[1])) continue;
        taken.push(spot);
        shown.push({ x, y, text: escaped(short), showarrow: false, captureevents: false, borderpad: 2, opacity: 0.9,
          font: { size: 13, color: style.getPropertyValue("--ink") }, bgcolor: style.getPropertyValue("--card") });
        if (shown.length >= MOST_NAMES) break;
      }
      await this.plotly.relayout(this.$el, { annotations: shown });
    },
  },
};
