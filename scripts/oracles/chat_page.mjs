// The chat page in headless Chromium: chat_page.mjs CLIENTS_FOLDER URL SCREENSHOT
// Sends a message, sees text stream in, stops it, sends another, and keeps a picture. Fails where the page asks anybody
// but the server, or says something on its console.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, url, screenshot] = process.argv.slice(2);
const require = createRequire(folder + "/");
const load = async (name) => { const found = await import(require.resolve(name)); return found.default?.launch || found.default?.executablePath ? found.default : found; };
const puppeteer = await load("puppeteer-core");
const chromium = await load("@sparticuz/chromium");
const browser = await puppeteer.launch({
  args: [...chromium.args, "--no-sandbox"], executablePath: await chromium.executablePath(), headless: "shell",
  defaultViewport: { width: 900, height: 700 },
});
try {
  const page = await browser.newPage();
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => request.url().startsWith(url) || problems.push("asks " + request.url()));
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("#model option").length > 0);
  const textOf = () => page.evaluate(() => [...document.querySelectorAll(".assistant")].map((one) => one.textContent).join(""));
  await page.type("#text", "Tell me a very long story about a llama in pajamas.");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".assistant");
  const early = await textOf();
  await page.waitForFunction((length) => document.querySelector(".assistant").textContent.length > length + 50, {}, early.length);
  assert.equal(await page.$eval("#send", (button) => button.textContent), "Stop");
  await page.click("#send");
  await page.waitForFunction(() => document.querySelector("#send").textContent === "Send");
  const stopped = await textOf();
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(await textOf(), stopped, "text came after it was stopped");
  await page.type("#text", "And then?");
  await page.click("#send");
  await page.waitForFunction(() => document.querySelectorAll(".assistant").length === 2);
  await page.waitForFunction((length) => [...document.querySelectorAll(".assistant")][1].textContent.length > 80, {}, 0);
  await page.screenshot({ path: screenshot });
  await page.click("#new");
  assert.equal(await textOf(), "");
  assert.deepEqual(problems, []);
  console.log("ok sends, streams, stops, goes on, begins anew; asks nobody else");
} finally {
  await browser.close();
}
