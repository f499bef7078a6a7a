// The page of a running bridge: fetch → fold → draw. It reads what /status says, once a second.
// Text becomes text nodes and never markup, which the content security policy enforces.
"use strict"

const KEEP = 600 // seconds that plots show
const MOST = 300 // messages and letters in a list
const SIGNS = {starting: "○", running: "●", degraded: "▲", waiting: "↻", failed: "✕", paused: "‖", draining: "▽", finished: "✓",
	idle: "○", connecting: "↻", up: "●", down: "✕", closed: "□"}
const TROUBLE = new Set(["failed", "waiting", "degraded"])

const view = {
	status: null,
	now: 0, // of the bridge, in seconds
	filter: "",
	shown: undefined, // the pipeline that is open
	lost: "", // why there is no connection
	history: new Map(), // by pipeline: columns of the plots
	buckets: new Map(), // by pipeline: the latest counts of delivery times, and what came of them
}
const $ = id => document.getElementById(id)
const offers = new Set(document.body.dataset.offers.split(" "))
const wide = matchMedia("(min-width: 900px)")
const dark = matchMedia("(prefers-color-scheme: dark)")

// ---- Words and numbers

const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0})
const short = new Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 4})
const rough = new Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: 3})
const count = n => n == null ? "–" : Math.abs(n) < 1e7 ? whole.format(n) : short.format(n)
const rate = n => !n ? "0" : n < 0.1 ? "<0.1" : n < 10 ? n.toFixed(1) : n < 1e5 ? whole.format(n) : short.format(n)
const bytes = n => {
	const units = ["B", "KiB", "MiB", "GiB", "TiB"]
	let i = 0
	for (; n >= 1024 && i < units.length - 1; i++) n /= 1024
	return (n < 10 && i ? n.toFixed(1) : Math.round(n)) + " " + units[i]
}
const span = s => {
	s = Math.max(0, s)
	if (s < 1 && s > 0) return Math.round(s * 1000) + " ms"
	s = Math.round(s)
	const [big, of, small, per] = s < 60 ? ["s", 1] : s < 3600 ? ["m", 60, "s", 1] : s < 86400 ? ["h", 3600, "m", 60] : ["d", 86400, "h", 3600]
	const rest = small ? Math.floor(s % of / per) : 0
	return Math.floor(s / of) + " " + big + (rest ? " " + rest + " " + small : "")
}
const brief = text => text.split(" ").slice(0, 2).join(" ") // a span's larger unit
const since = t => view.now - Date.parse(t) / 1000
const ago = t => t ? span(since(t)) : "–"
const clock = t => new Date(t).toLocaleTimeString([], {hour12: false})
const again = p => p.tries_again ? "tries again in " + span(-since(p.tries_again)) : ""
const part = ({progress: p, owed}) => Math.min(p.done_bytes / p.total_bytes, owed ? 0.99 : 1) // all is done when nothing is owed
const progress = p => !p.progress ? "" : Math.floor(100 * part(p)) + " %, " + bytes(p.progress.done_bytes) + " of " + bytes(p.progress.total_bytes) + " read" +
	(p.owed && p.progress.done_bytes >= p.progress.total_bytes ? ", " + count(p.owed) + " to be delivered yet" : "") +
	(p.progress.seconds_left == null ? "" : ", " + span(p.progress.seconds_left) + " left")
const said = state => (SIGNS[state] ?? "?") + " " + state

// ---- Elements

function make(tag, attributes = {}, ...children) {
	const e = document.createElement(tag)
	for (const [k, v] of Object.entries(attributes)) if (v !== undefined) e.setAttribute(k, v)
	e.append(...children)
	return e
}
function draft(tag, attributes = {}, ...children) { // of a drawing
	const e = document.createElementNS("http://www.w3.org/2000/svg", tag)
	for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v)
	e.append(...children)
	return e
}
const put = (e, text) => { if (e.textContent !== String(text)) e.textContent = text }
const mark = (e, state) => { put(e, said(state)); if (e.dataset.state !== state) e.dataset.state = state }
const show = (e, on) => { if (e.hidden === on) e.hidden = !on }

// rows makes the rows of a table's body those of items, in their order, and keeps what stays.
function rows(body, items, key, cells, fill) {
	const old = new Map([...body.rows].map(r => [r.dataset.key, r]))
	let at = body.firstElementChild
	for (const item of items) {
		const k = key(item)
		let row = old.get(k)
		old.delete(k)
		if (!row) {
			row = make("tr")
			row.dataset.key = k
			for (let i = 0; i < cells; i++) row.append(make("td"))
		}
		if (row === at) at = at.nextElementSibling
		else body.insertBefore(row, at)
		fill(item, row.cells, row)
	}
	for (const row of old.values()) row.remove()
}

// ---- Fetch

let token = sessionStorage.getItem("token") ?? ""
let asking = null // for a token, one at a time

// The link of xrtcbridge dashboard brings a code, for which there is a token once.
const entering = enter()
async function enter() {
	const code = location.hash.match(/^#code=(\w+)$/)
	if (!code) return
	history.replaceState(null, "", location.pathname)
	const r = await fetch("login", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({code: code[1]})})
	if (r.ok) sessionStorage.setItem("token", token = (await r.json()).token)
}

// call returns the answer to a request, or throws what the server says against it.
async function call(path, {method = "GET", body, signal} = {}) {
	await entering
	for (;;) {
		const headers = {}
		if (token) headers.Authorization = "Bearer " + token
		if (method !== "GET") headers["Content-Type"] = "application/json"
		const used = token
		const r = await fetch(path, {method, headers, signal, cache: "no-store",
			body: method === "GET" ? undefined : JSON.stringify(body ?? {})})
		if (r.status === 401 && used !== token) continue
		if (r.status === 401) {
			await (asking ??= signIn().finally(() => { asking = null }))
			continue
		}
		if (r.ok) return r
		let text = (await r.text()).trim()
		try { text = JSON.parse(text).error ?? text } catch { /* it is text */ }
		throw Object.assign(new Error(text || r.status + " " + r.statusText), {status: r.status})
	}
}

async function signIn() {
	const input = make("input", {type: "password", "aria-label": "Token", autocomplete: "off", required: ""})
	while (!await ask("Sign in", [make("p", {}, "The token that the file of the bridge names (admin: {token: …}), or else the one in admin.token beside its socket; or open the link that ",
		make("code", {}, "xrtcbridge dashboard"), " prints."), input], "Sign in") || !input.value);
	token = input.value
	sessionStorage.setItem("token", token)
}

async function* lines(response) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
	for (let rest = ""; ;) {
		const {done, value} = await reader.read()
		if (done) return
		const parts = (rest + value).split("\n")
		rest = parts.pop()
		yield* parts
	}
}

const sleep = seconds => new Promise(done => setTimeout(done, seconds * 1000))

async function watch() {
	for (let wait = 1; ; wait = Math.min(wait * 2, 10)) {
		const silence = new AbortController()
		let timer
		const alive = () => { clearTimeout(timer); timer = setTimeout(() => silence.abort(), 15000) }
		try {
			const events = await call("events", {signal: silence.signal})
			alive()
			for await (const line of lines(events)) {
				if (!line.startsWith("data: ")) continue
				alive()
				wait = 0.5
				view.lost = ""
				fold(JSON.parse(line.slice(6)))
				draw()
			}
			view.lost = "the bridge has closed the connection"
		} catch (e) {
			view.lost = silence.signal.aborted ? "nothing has come for 15 seconds" : e.message
		} finally {
			clearTimeout(timer)
			silence.abort() // so that nothing is left open
		}
		draw()
		await sleep(wait)
	}
}

async function measure() {
	while (offers.has("metrics")) {
		try {
			if (!document.hidden) foldMetrics(await (await call("metrics")).text())
		} catch (e) {
			if (e.status === 404) return
			view.buckets.clear()
		}
		await sleep(5)
	}
}

// ---- Fold

function fold(status) {
	status.pipelines ??= []
	view.status = status
	const before = view.now
	view.now = Date.parse(status.now) / 1000
	const gone = new Set(view.history.keys())
	for (const p of status.pipelines) {
		gone.delete(p.name)
		if (!view.history.has(p.name)) view.history.set(p.name, {t: [], in: [], out: [], p50: [], p99: [], oldest: []})
		const h = view.history.get(p.name), b = view.buckets.get(p.name)
		if (h.t.length && view.now <= h.t.at(-1)) continue // the clock was set back, or nothing is new
		if (h.t.length && view.now - before > 5) add(h, before + 1, null, null, null, null, null)
		add(h, view.now, p.in.messages_10s, p.out.messages_10s, b?.p50 ?? null, b?.p99 ?? null, p.oldest_owed ? since(p.oldest_owed) : null)
		while (h.t[0] < view.now - KEEP) for (const column of Object.values(h)) column.shift()
	}
	for (const name of gone) for (const kept of [view.history, view.buckets]) kept.delete(name)
}
const add = (h, ...values) => Object.values(h).forEach((column, i) => column.push(values[i]))

// foldMetrics takes how long deliveries took since the last time out of the text of /metrics.
function foldMetrics(text) {
	const found = new Map()
	for (const [, labels, value] of text.matchAll(/^xrtcbridge_delivery_seconds_bucket\{(.*)\} (\S+)/gm)) {
		const of = {}
		for (const [, k, v] of labels.matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)) of[k] = v.replace(/\\(.)/g, (_, c) => c === "n" ? "\n" : c)
		const bounds = found.get(of.pipeline) ?? found.set(of.pipeline, new Map()).get(of.pipeline)
		const le = of.le === "+Inf" ? Infinity : Number(of.le)
		bounds.set(le, (bounds.get(le) ?? 0) + Number(value))
	}
	for (const [name, bounds] of found) {
		const last = view.buckets.get(name)?.bounds
		const now = {bounds, p50: null, p99: null}
		if (last) {
			const grown = [...bounds].sort(([a], [b]) => a - b).map(([le, n]) => [le, n - (last.get(le) ?? 0)])
			now.p50 = quantile(grown, 0.5)
			now.p99 = quantile(grown, 0.99)
		}
		view.buckets.set(name, now)
	}
}
function quantile(grown, q) {
	const all = grown.at(-1)?.[1] ?? 0
	if (all <= 0) return null
	let low = 0, under = 0
	for (const [le, n] of grown) {
		if (n >= q * all) return le === Infinity ? low : low + (le - low) * (q * all - under) / (n - under)
		low = le
		under = n
	}
	return null
}

const matches = p => {
	const text = (p.name + " " + p.state).toLowerCase()
	return view.filter.toLowerCase().split(/\s+/).every(word => text.includes(word))
}
function selected() {
	const hash = location.hash.match(/^#\/(.+)$/)
	const all = view.status?.pipelines ?? []
	if (hash) return all.find(p => encodeURIComponent(p.name) === hash[1] || p.name === hash[1])
	return wide.matches ? all.find(p => p.name === view.shown) ?? all.find(p => TROUBLE.has(p.state)) ?? all[0] : undefined
}

// ---- Draw

function draw() {
	if (document.hidden) return
	show($("app"), true)
	drawNotes()
	const s = view.status
	if (!s) return
	const bad = s.pipelines.filter(p => TROUBLE.has(p.state)).length
	const title = (view.lost ? "? " : bad ? "✕ " + bad + " " : "") + "XRTC Bridge"
	if (document.title !== title) document.title = title
	const ready = $("ready"), state = view.lost ? "down" : s.draining ? "draining" : s.ready ? "running" : "degraded"
	ready.dataset.state = state
	put(ready, SIGNS[state] + " " + (view.lost ? "no connection" : s.draining ? "stopping" : s.ready ? "ready" : "not ready"))
	put($("about"), [s.version, "up " + ago(s.started), s.pipelines.length + (s.pipelines.length === 1 ? " pipeline" : " pipelines"),
		"configuration of " + ago(s.config.loaded) + " ago"].join(" · "))

	const open = selected(), listed = s.pipelines.filter(matches)
	rows($("list").tBodies[0], listed, p => p.name, 6, (p, c, row) => {
		if (!c[1].firstChild) c[1].append(make("a", {href: "#/" + encodeURIComponent(p.name)}, p.name))
		mark(c[0], p.state)
		put(c[2], rate(p.in.messages_10s))
		put(c[3], rate(p.out.messages_10s))
		put(c[4], p.owed < 1e4 ? count(p.owed) : rough.format(p.owed))
		put(c[5], brief(ago(p.oldest_owed)))
		row.title = [p.name, p.reason, again(p), ...p.notes ?? [], progress(p)].filter(Boolean).join("\n")
		row.classList.toggle("open", p === open)
	})
	show($("none"), !listed.length)
	put($("none"), s.pipelines.length ? "No pipeline matches." : "The configuration has no pipelines.")
	document.body.classList.toggle("opened", Boolean(open) && location.hash.startsWith("#/") && location.hash.length > 2)
	document.body.classList.toggle("lost", Boolean(view.lost))
	show($("detail"), Boolean(open))
	if (open?.name !== view.shown) turn(open)
	if (open) drawPipeline(open)
}

let noted = "" // what an action did, until the next
function note(text) {
	noted = text
	drawNotes()
}
function drawNotes() {
	const s = view.status, notes = []
	if (view.lost) notes.push(["down", "No connection to the bridge: " + view.lost + ". What is shown is old; trying again."])
	if (s?.config.rejected) notes.push(["failed", "The reload of " + clock(s.config.rejected.at) + " failed: " + s.config.rejected.error])
	if (!view.lost) for (const r of s?.reasons ?? []) notes.push(["degraded", r])
	if (noted) notes.push(["note", noted])
	const signature = JSON.stringify(notes)
	if ($("notes").dataset.is === signature) return
	$("notes").dataset.is = signature
	$("notes").replaceChildren(...notes.slice(0, 8).map(([state, text]) => make("p", {"data-state": state}, (SIGNS[state] ?? "·") + " " + text)),
		...notes.length > 8 ? [make("p", {}, "and " + (notes.length - 8) + " more")] : [])
}

// turn opens another pipeline, or none.
function turn(p) {
	view.shown = p?.name
	tapping?.abort()
	$("messages").replaceChildren()
	$("letters").replaceChildren()
	$("replay").disabled = true
	for (const form of [$("tap"), $("dead")]) put(form.querySelector("[role=status]"), "")
	$("graph").dataset.is = ""
	if (!p) return
	put($("name"), p.name)
	if (!wide.matches) scrollTo(0, 0)
}

function drawPipeline(p) {
	mark($("state"), p.state)
	put($("since"), "for " + ago(p.since) + (p.restarts ? " · " + count(p.restarts) + (p.restarts === 1 ? " restart" : " restarts") : "") + (p.optional ? " · optional" : ""))
	const reasons = [p.reason, again(p), ...p.notes ?? []].filter(Boolean)
	show($("reason"), Boolean(reasons.length))
	put($("reason"), reasons.join("\n"))
	put($("pause"), p.state === "paused" ? "Resume" : "Pause")
	show($("progress"), Boolean(p.progress))
	$("progress").firstElementChild.value = p.progress ? part(p) : 0, put($("progress").lastElementChild, progress(p))
	const l = p.ledger, why = o => (p.reasons ?? []).filter(r => r.outcome === o).map(r => count(r.n) + " by " + r.reason).join(", ")
	const figures = [["Owed", count(p.owed)], ["Oldest owed", ago(p.oldest_owed)], ["Last in", ago(p.last_in)], ["Last out", ago(p.last_out)],
		["Received", count(l.received)], ["Delivered", count(l.delivered)], ["Filtered", count(l.filtered)],
		["Dead-lettered", count(l.dead_lettered), why("dead_lettered")], ["Dropped", count(l.dropped), why("dropped")],
		...[["Made", l.made], ["Merged", l.merged], ["Buffered", l.buffered], ["Carried", l.carried]].filter(([, n]) => n).map(([k, n]) => [k, count(n)]),
		["In flight", count(l.in_flight)]]
	const list = $("figures"), kinds = figures.map(f => f[0]).join()
	if (list.dataset.is !== kinds) {
		list.dataset.is = kinds
		list.replaceChildren(...figures.map(([k]) => make("div", {}, make("dt", {}, k), make("dd"), make("dd", {class: "dim"}))))
	}
	figures.forEach(([, value, more], i) => {
		const div = list.children[i]
		put(div.children[1], value)
		put(div.children[2], more ?? "")
		div.classList.toggle("bad", Boolean(more))
	})
	drawGraph(p)
	drawPlots(view.history.get(p.name))
	const errors = p.errors ?? [], signature = JSON.stringify(errors)
	if ($("errors").dataset.is !== signature) {
		$("errors").dataset.is = signature
		$("errors").replaceChildren(...errors.length ? errors.map(e => make("li", {},
			make("time", {datetime: e.at}, clock(e.at)), " ", make("b", {}, e.instance), e.n > 1 ? " " + count(e.n) + " times in a row" : "", make("p", {}, e.text))) :
			[make("li", {class: "dim"}, "None.")])
	}
	rows($("ends").tBodies[0], p.ends, e => e.instance, 10, (e, c) => {
		mark(c[0], e.state)
		if (!c[1].firstChild) c[1].append(make("div"), make("div", {class: "dim"}))
		put(c[1].firstChild, e.instance)
		put(c[1].lastChild, e.reason ?? "")
		const texts = [e.kind + " " + e.type + (e.optional ? ", optional" : ""), count(e.messages), rate(e.rates.messages_10s), bytes(e.bytes),
			e.kind === "step" ? count(e.passed) : "–", count(e.refused), count(e.opened), ago(e.last)]
		texts.forEach((t, i) => put(c[i + 2], t))
	})
	const select = $("tap").elements.place, places = ["", ...p.ends.filter(e => ["source", "step", "sink"].includes(e.kind)).map(e => own(p, e.instance))]
	if (select.dataset.is !== JSON.stringify(places)) {
		select.dataset.is = JSON.stringify(places)
		select.replaceChildren(...places.map(v => make("option", {value: v}, v || "everywhere")))
	}
}

// own is an instance without the name of its pipeline.
const own = (p, instance) => instance.startsWith(p.name + "-") ? instance.slice(p.name.length + 1) : instance

// ---- The graph

const WIDTH = 158, HEIGHT = 50, ROW = 66, GAP = 80

// layout puts ends into columns: each behind those whose messages it gets. Where several ends feed
// an end they meet in a joint first, so that each arrow stands for one number.
function layout(ends) {
	const nodes = new Map(ends.map(e => [e.instance, {id: e.instance, end: e, after: (e.after ?? []).filter(a => ends.some(o => o.instance === a))}]))
	for (const n of [...nodes.values()]) {
		if (n.after.length < 2) continue
		const id = "\0" + n.after.join("\0")
		if (!nodes.has(id)) nodes.set(id, {id, after: n.after})
		n.after = [id]
	}
	const column = (n, seen = new Set()) => n.column ??= seen.has(n.id) ? 0 :
		Math.max(-1, ...n.after.map(a => column(nodes.get(a), new Set(seen).add(n.id)))) + 1
	const columns = [], last = Math.max(...[...nodes.values()].map(n => column(n)))
	for (const n of nodes.values()) (columns[n.end?.kind === "dead_letter" ? last : n.column] ??= []).push(n)
	const tallest = Math.max(1, ...columns.map(c => c.length))
	let x = 1
	for (const c of columns) {
		const middle = n => n.after.length ? n.after.reduce((sum, a) => sum + (nodes.get(a).y ?? 0), 0) / n.after.length : Infinity
		c.sort((a, b) => middle(a) < middle(b) ? -1 : middle(a) > middle(b) ? 1 : 0)
		const width = c.some(n => n.end) ? WIDTH : 6
		c.forEach((n, i) => Object.assign(n, {x, width: n.end ? WIDTH : 6, y: (i + 0.5 + (tallest - c.length) / 2) * ROW}))
		x += width + (width === 6 ? GAP * 0.7 : GAP)
	}
	return {nodes, width: x - GAP + 1, height: tallest * ROW}
}

const clip = (text, n) => [...text].length > n ? [...text].slice(0, n - 1).join("") + "…" : text
let drawn = new Map() // by end: what changes in its drawing

function drawGraph(p) {
	const svg = $("graph"), signature = JSON.stringify([p.name, p.ends.map(e => [e.instance, e.type, e.kind, e.after])])
	if (svg.dataset.is !== signature) {
		svg.dataset.is = signature
		drawn = new Map(p.ends.map(e => [e.instance, {in: [], out: []}]))
		const {nodes, width, height} = layout(p.ends)
		for (const [k, v] of Object.entries({width, height, viewBox: "0 0 " + width + " " + height})) svg.setAttribute(k, v)
		const arrows = [], labels = [], boxes = []
		for (const n of nodes.values()) {
			for (const from of n.after.map(a => nodes.get(a))) {
				const x1 = from.x + from.width, x2 = n.x - (n.end ? 7 : 0), mid = (x1 + x2) / 2
				const path = draft("path", {class: "arrow", d: `M${x1},${from.y}C${mid},${from.y} ${mid},${n.y} ${x2},${n.y}`})
				arrows.push(path)
				if (n.end) arrows.push(draft("path", {class: "head", d: `M${n.x},${n.y}l-8,-4v8z`}))
				const of = n.end ? drawn.get(n.id).in : from.end?.kind === "source" ? drawn.get(from.id).out : undefined
				if (!of) continue
				const label = n.end ? draft("text", {class: "rate", x: n.x - 11, y: n.y + (from.y < n.y ? 15 : -6), "text-anchor": "end"}) :
					draft("text", {class: "rate", x: x1 + 5, y: from.y + (from.y > n.y ? 15 : -6)})
				labels.push(label)
				of.push({path, label})
			}
			if (!n.end) {
				boxes.push(draft("circle", {class: "joint", cx: n.x + 3, cy: n.y, r: 3}))
				continue
			}
			const d = drawn.get(n.id), e = n.end
			Object.assign(d, {state: draft("text", {class: "sign", x: n.x + 12, y: n.y - 6}), count: draft("text", {class: "count", x: n.x + 12, y: n.y + 14}), title: draft("title")})
			d.box = draft("g", {class: "end " + (/^[a-z_]+$/.test(e.kind) ? e.kind : ""), tabindex: 0, role: "button"}, d.title,
				draft("rect", {x: n.x, y: n.y - HEIGHT / 2, width: WIDTH, height: HEIGHT, rx: 4}),
				draft("path", {class: "edge", d: `M${n.x + 2},${n.y - HEIGHT / 2 + 3}v${HEIGHT - 6}`}),
				d.state, draft("text", {x: n.x + 28, y: n.y - 6}, draft("tspan", {class: "type"}, clip(e.type, 10)), draft("tspan", {class: "own", dx: 6}, clip(own(p, e.instance), 18 - Math.min(10, e.type.length)))), d.count)
			const choose = () => {
				$("tap").elements.place.value = own(p, e.instance)
				if (offers.has("tap")) $("tap").elements.when.focus()
			}
			d.box.addEventListener("click", choose)
			d.box.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose() } })
			boxes.push(d.box)
		}
		svg.replaceChildren(...arrows, ...boxes, ...labels)
	}
	for (const e of p.ends) {
		const d = drawn.get(e.instance), r = e.rates.messages_10s
		d.box.dataset.state = e.state
		put(d.state, SIGNS[e.state] ?? "?")
		put(d.count, e.state !== "up" ? e.state + " · " + short.format(e.messages) :
			count(e.messages) + (e.refused ? " · " + short.format(e.refused) + " refused" : ""))
		put(d.title, [e.instance, e.kind + " " + e.type, e.state + " for " + ago(e.since), e.reason].filter(Boolean).join("\n"))
		for (const {path, label} of [...d.in, ...d.out]) {
			put(label, rate(r) + "/s")
			path.classList.toggle("flows", r > 0)
			label.classList.toggle("flows", r > 0)
		}
	}
}

// ---- Plots

let plots = []
const steps = (from, to) => Array.from({length: to - from}, (_, i) => [1, 2, 5].map(d => d * 10 ** (from + i))).flat()
function drawPlots(h) {
	if (!plots.length) {
		const css = getComputedStyle(document.body), colour = name => css.getPropertyValue(name).trim()
		const axis = values => ({stroke: colour("--dim"), font: "11px system-ui, sans-serif", size: 56, gap: 4, grid: {stroke: colour("--line"), width: 1}, ticks: {show: false}, values})
		const plot = (where, columns, text, incrs) => {
			// Where the mouse is, or the latest.
			const value = (u, v, i, at) => (v = at == null ? u.data[i].at(-1) : v) == null ? "–" : text(v)
			const of = columns.map(([label, key, stroke, dash]) => ({key, of: {label, stroke: colour(stroke), dash, width: 1.5, points: {show: false}, value}}))
			const u = new uPlot({width: Math.max(200, where.clientWidth), height: 170, cursor: {points: {show: false}},
				scales: {x: {range: (_, __, max) => [max - KEEP, max]}, y: {range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1]}},
				axes: [{...axis((_, at) => at.map(t => new Date(t * 1000).toLocaleTimeString([], {hour12: false, hour: "2-digit", minute: "2-digit"}))), size: 26, space: 70}, {...axis((_, at) => at.map(text)), incrs}],
				series: [{label: "at", value: (u, t, i, at) => at == null ? "now" : clock(t * 1000)}, ...of.map(c => c.of)],
			}, [[], ...of.map(() => [])], where)
			plots.push({u, where, keys: of.map(c => c.key)})
		}
		plot($("throughput"), [["in", "in", "--blue"], ["out", "out", "--orange", [6, 3]]], rate, steps(0, 8))
		const times = offers.has("metrics") ? [["p50", "p50", "--blue"], ["p99", "p99", "--orange", [6, 3]]] : []
		plot($("latency"), [...times, ["oldest owed", "oldest", "--dim", [2, 3]]], span, [...steps(-3, 0), 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, ...[1, 2, 5, 10, 50, 100].map(d => d * 86400)])
	}
	for (const {u, where, keys} of plots) {
		if (where.clientWidth && u.width !== where.clientWidth) u.setSize({width: where.clientWidth, height: 170})
		u.setData([h.t, ...keys.map(k => h[k])])
	}
}
dark.addEventListener("change", () => {
	for (const {u} of plots) u.destroy()
	plots = []
	draw()
})

// ---- What the user does

// ask shows a dialog and says whether it was confirmed; without a verb there is nothing to confirm.
function ask(title, content, verb) {
	const dialog = $("dialog")
	answer(false) // to one before it, whose event is still to come
	put($("question"), title)
	$("answer").replaceChildren(...content)
	show($("confirm"), Boolean(verb))
	for (const [id, text] of [["confirm", verb ?? ""], ["cancel", verb ? "Cancel" : "Close"]]) put($(id), text)
	dialog.returnValue = ""
	if (!dialog.open) dialog.showModal()
	const first = $("answer").querySelector("input") ?? (verb ? $("confirm") : $("cancel"))
	first.focus()
	return new Promise(done => { answer = done })
}
let answer = () => {} // to the question that is open
$("dialog").addEventListener("close", () => { if (!$("dialog").open) answer($("dialog").returnValue === "yes") })
$("answer").addEventListener("keydown", e => { // the first button of the form is Cancel
	if (e.key === "Enter" && e.target.tagName === "INPUT") {
		e.preventDefault()
		$("dialog").close("yes")
	}
})

// attempt does something and tells how it went; where the server does not have it, it is not shown again.
async function attempt(name, what, done) {
	try {
		note(await what() ?? done)
	} catch (e) {
		if (e.status === 404 && name) hide(name)
		if (e.name !== "AbortError") note(done + " did not work: " + e.message)
	}
}
function hide(name) {
	offers.delete(name)
	for (const e of document.querySelectorAll(`[data-needs=${name}]`)) e.hidden = true
}

async function act(action) {
	const p = selected()
	if (!p || !offers.has("pipelines")) return
	const verb = action[0].toUpperCase() + action.slice(1)
	const what = {pause: "Its sources are closed until it is resumed.", resume: "Its sources are opened again.",
		restart: "It delivers what it has read, closes its ends and opens them anew."}[action]
	if (!await ask(verb + " " + p.name + "?", [make("p", {}, what)], verb)) return
	await attempt("", async () => {
		const {warning} = await (await call("pipelines/" + encodeURIComponent(p.name) + "/" + action, {method: "POST"})).json()
		return warning && verb + " " + p.name + ": " + warning
	}, verb + " " + p.name)
}
const pause = () => act(selected()?.state === "paused" ? "resume" : "pause")

async function reload() {
	await attempt("reload", async () => {
		const diff = await (await call("reload?dry_run=1", {method: "POST"})).json()
		const some = ["starts", "stops", "restarts"].some(kind => diff[kind])
		if (!await ask(some ? "Reload the configuration?" : "Nothing has changed.", [drawDiff(diff)], some && "Reload")) return noted // as before
		const {warnings} = await (await call("reload", {method: "POST"})).json()
		return warnings && "Reloaded, but: " + warnings.join("\n")
	}, "Reload")
}
function drawDiff(diff) {
	const line = (kind, text) => make("span", {class: kind}, text + "\n"), lines = []
	for (const [kind, sign] of [["starts", "+"], ["stops", "-"], ["restarts", "~"]]) {
		for (const c of diff[kind] ?? []) {
			lines.push(line(kind, sign + " " + kind + " " + c.pipeline + (c.because ? ": " + c.because.join(", ") + " changed" : "")))
			for (const p of c.promises ?? []) lines.push(line("dim", "    " + p))
		}
	}
	lines.push(line("dim", "  " + (diff.untouched?.length ?? 0) + " untouched"), ...(diff.warnings ?? []).map(w => line("stops", "! " + w)))
	return make("pre", {class: "diff"}, ...lines)
}

// message draws one that was tapped or put aside; all of it is shown when it is opened, before and
// after a step side by side.
function message(m, title, shown = [m]) {
	const text = m => [clip(m.topic ?? "", 80), clip(m.payload ?? (m.payload_base64 ? "base64:" + m.payload_base64 : ""), 160)].filter(Boolean).join(" ")
	const details = make("details", {}, make("summary", {}, make("span", {class: "dim"}, title), " ", make("code", {}, shown.map(text).join(" → "))))
	details.addEventListener("toggle", () => {
		if (!details.open || details.querySelector("pre")) return
		details.append(make("div", {class: "sides"}, ...shown.map(m => make("pre", {}, JSON.stringify(m, null, 2)))))
	})
	return details
}

let tapping = null
async function tap() {
	const form = $("tap"), status = form.querySelector("[role=status]"), button = form.querySelector("button")
	if (tapping) return tapping.abort()
	const mine = tapping = new AbortController()
	const query = new URLSearchParams({pipeline: view.shown, place: form.elements.place.value, n: form.elements.n.value, when: form.elements.when.value})
	for (const [k, v] of [...query]) if (!v) query.delete(k)
	let seen = 0, lost = "", end = ""
	const tell = how => put(status, count(seen) + " seen" + lost + how)
	put(button, "Stop")
	put(status, "waiting for messages")
	$("messages").replaceChildren()
	try {
		for await (const line of lines(await call("tap?" + query, {signal: mine.signal}))) {
			const m = JSON.parse(line)
			const more = ["missed", "skipped", "failed"].filter(k => m[k]).map(k => ", " + count(m[k]) + " " + k).join("")
			if (more) lost = more + (m.why ? " (" + m.why + ")" : "")
			end = m.end ?? end
			if (m.place !== undefined) {
				seen++
				const {at, place, outcome, reason, cut, message: before, after = []} = m
				$("messages").prepend(message(m, [clock(at), place, outcome, reason, cut && count(cut) + " bytes not shown"].filter(Boolean).join(" · "), [before, ...after].filter(Boolean)))
				if ($("messages").children.length > MOST) $("messages").lastElementChild.remove()
			}
			tell("")
		}
		tell(end ? ": " + end : ", done")
	} catch (e) {
		if (e.status === 404) hide("tap")
		else if (e.name !== "AbortError") put(status, e.message)
		else if (view.shown === query.get("pipeline")) tell(", stopped")
	}
	put(button, "Look")
	if (tapping === mine) tapping = null
}

let letters = [] // that are shown
async function dead() {
	const status = $("dead").querySelector("[role=status]"), pipeline = view.shown, filter = $("dead").elements.filter.value.toLowerCase()
	try {
		const found = []
		let more = 0
		for await (const line of lines(await call("dead?" + new URLSearchParams({pipeline})))) {
			if (!line.startsWith("{") || !line.toLowerCase().includes(filter)) continue
			if (found.length < MOST) found.push(JSON.parse(line))
			else more++
		}
		if (view.shown !== pipeline) return
		letters = found
		$("letters").replaceChildren(...found.map(l => message(l, [l.number, clock(l.last), l.instance, l.reason].filter(Boolean).join(" · "))))
		put(status, found.length ? count(found.length) + (more ? " of " + count(found.length + more) : "") : "none")
		$("replay").disabled = !found.length
	} catch (e) {
		if (e.status === 404) hide("dead")
		put(status, e.message)
	}
}
async function replay() {
	const pipeline = view.shown, numbers = letters.map(l => l.number)
	if (!await ask("Replay " + numbers.length + (numbers.length === 1 ? " dead letter of " : " dead letters of ") + pipeline + "?",
		[make("p", {}, "Each goes on from the place that refused it. What fails again is kept as a new one.")], "Replay")) return
	await attempt("replay", async () => (await (await call("dead/replay", {method: "POST", body: {pipeline, numbers}})).text()).trim() || undefined, "Replay")
	dead()
}

const KEYS = [["/", "filter the list", () => $("filter").focus()],
	["j", "next pipeline (or ↓)", () => move(1)], ["k", "previous pipeline (or ↑)", () => move(-1)],
	["Enter", "open the one in focus"], ["Escape", "back to the list"],
	["p", "pause or resume", pause, "pipelines"], ["r", "restart", () => act("restart"), "pipelines"],
	["t", "look at messages", () => $("tap").elements.when.focus(), "tap"], ["d", "show dead letters", dead, "dead"],
	["R", "reload the configuration", reload, "reload"], ["?", "these keys", keys]]
function keys() {
	ask("Keys", [make("dl", {class: "keys"}, ...KEYS.filter(([,,, needs]) => !needs || offers.has(needs)).flatMap(([k, what]) =>
		[make("dt", {}, make("kbd", {}, k)), make("dd", {}, what)]))])
}
function move(by) {
	const links = [...$("list").querySelectorAll("a")]
	const at = links.indexOf(document.activeElement), open = links.findIndex(a => a.textContent === view.shown)
	links[Math.max(0, Math.min(links.length - 1, (at < 0 ? open : at) + by))]?.focus()
}
document.addEventListener("keydown", e => {
	if (e.ctrlKey || e.metaKey || e.altKey || $("dialog").open) return
	const typing = e.target.matches("input, select, textarea")
	if (e.key === "Escape") {
		if (!typing) location.hash = "#/"
		else if (e.target === $("filter")) { e.target.value = view.filter = ""; draw() }
		e.target.blur()
		return
	}
	const arrow = {ArrowDown: "j", ArrowUp: "k"}[e.key]
	if (typing && !(arrow && e.target === $("filter")) || arrow && !$("list").contains(e.target) && e.target !== $("filter") && e.target !== document.body) return
	const [,, does, needs] = KEYS.find(([k]) => k === (arrow ?? e.key)) ?? []
	if (!does || needs && !offers.has(needs)) return
	e.preventDefault()
	does()
})

for (const e of document.querySelectorAll("[data-needs]")) if (!offers.has(e.dataset.needs)) e.hidden = true
const submits = (id, does) => $(id).addEventListener("submit", e => { e.preventDefault(); does() })
submits("tap", tap)
submits("dead", dead)
for (const [id, does] of Object.entries({replay, reload, help: keys, pause, restart: () => act("restart")})) $(id).addEventListener("click", does)
$("filter").addEventListener("input", () => { view.filter = $("filter").value; draw() })
addEventListener("hashchange", draw)
addEventListener("resize", draw)
document.addEventListener("visibilitychange", draw)
wide.addEventListener("change", draw)
$("plain").remove()
watch()
measure()
