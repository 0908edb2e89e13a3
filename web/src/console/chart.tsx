// Claims and answers a second over the last minute.
import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import type { Live } from "../shared/live";
import { thousands } from "./parts";

/** Between two points. */
const STEP_MS = 250;
const SPAN_S = 60;
const POINTS = (SPAN_S * 1_000) / STEP_MS;
const HEIGHT = 240;
/** The axis stands still, and the lines move. */
const PAST = Array.from({ length: POINTS }, (_, place) => ((place + 1 - POINTS) * STEP_MS) / 1_000);

export function Chart({ live }: { live: Live }) {
  const place = useRef<HTMLDivElement>(null);
  const newest = useRef(live);
  newest.current = live;

  useEffect(() => {
    const root = place.current!;
    const claims = new Array<number>(POINTS).fill(0);
    const answers = new Array<number>(POINTS).fill(0);
    const data: uPlot.AlignedData = [PAST, claims, answers];
    const plot = new uPlot(options(root), data, root);
    const timer = setInterval(() => {
      claims.shift();
      claims.push(newest.current.claims_per_second);
      answers.shift();
      answers.push(newest.current.answers_per_second);
      if (!document.hidden) plot.setData(data);
    }, STEP_MS);
    const sized = new ResizeObserver(() => plot.setSize({ width: root.clientWidth, height: HEIGHT }));
    sized.observe(root);
    const colours = matchMedia("(prefers-color-scheme: dark)");
    const redraw = () => plot.redraw();
    colours.addEventListener("change", redraw);
    return () => {
      clearInterval(timer);
      sized.disconnect();
      colours.removeEventListener("change", redraw);
      plot.destroy();
    };
  }, []);

  return (
    <section class="card chart" aria-labelledby="chart-title">
      <h2 id="chart-title">The last minute</h2>
      <div
        class="plot"
        ref={place}
        role="img"
        aria-label={`Now ${thousands(live.claims_per_second)} claims and ${thousands(live.answers_per_second)} answers a second`}
      />
      <div class="legend" aria-hidden="true">
        <span>
          <i />
          Claims granted a second
        </span>
        <span class="second">
          <i />
          All answers a second
        </span>
      </div>
    </section>
  );
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function options(root: HTMLElement): uPlot.Options {
  const axis = { stroke: () => colour("--ink-2"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false } };
  const line = (name: string, fill?: string): uPlot.Series => ({
    stroke: () => colour(name),
    width: 2,
    points: { show: false },
    ...(fill === undefined ? {} : { fill: () => colour(fill) }),
  });
  return {
    width: root.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    // A scale that begins at nothing, and has room for something also while nothing happens.
    scales: { x: { time: false, range: [-SPAN_S, 0] }, y: { range: (_, __, max) => [0, Math.max(10, max * 1.1)] } },
    axes: [{ ...axis, values: (_, splits) => splits.map(ago) }, { ...axis, size: 56, values: (_, splits) => splits.map((value) => thousands(value)) }],
    series: [{}, line("--accent", "--accent-soft"), line("--chart-2")],
  };
}

function ago(seconds: number): string {
  return seconds === 0 ? "now" : `${-seconds} s`;
}
