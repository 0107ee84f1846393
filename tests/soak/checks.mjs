// What the soaks share: checks that are counted, and the end of a run.
import { within } from '../wire/server.mjs';

let passed = 0;
let failed = 0;

export function check(what, got, wanted) {
  if (got === wanted) {
    passed++;
  } else {
    failed++;
    console.log(`FAIL ${what}: ${got}, not ${wanted}`);
  }
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    failed++;
    console.log(`FAIL ${error.stack}`);
  }
}

/* Runs it, then what is in `ending`, last first: a server must end well, too. */
export async function soak(main, ending, ms = 600000) {
  await attempt(() => within(main(), 'the whole run', ms));
  for (const end of ending.reverse()) await attempt(end);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

/* Counts by type that /metrics has for one way, without those that are 0. */
export function messages(metrics, way) {
  const found = {};
  for (const [key, value] of metrics.samples) {
    const match = key.match(/^mpserver_websocket_messages_total\{type="(.*)",direction="(.*)"\}$/);
    if (match?.[2] === way && value) found[match[1]] = value;
  }
  return found;
}
