// Waiting for what must become true, with a deadline.

export async function poll(what, condition, limitMs = 10_000, explain = () => '') {
  const until = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > until) throw new Error(`not within ${limitMs / 1000} s: ${what} ${explain()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
