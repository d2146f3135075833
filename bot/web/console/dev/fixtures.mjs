/**
 * A stand-in for the service, for working on these pages only: invented people, kept in memory, in the API's shapes.
 * `npm run build && npm run dev:fixtures` serves the built pages on 127.0.0.1:8090 (or $PORT). Log in with any name
 * (a role's name gives that role; "new" must change the password) and any password but "wrong".
 * Things to try: POST /dev/alert, /dev/message, /dev/drop (closes the sockets), /dev/fail?n=3 (the next n calls fail).
 */
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocketServer } from 'ws'

const here = fileURLToPath(new URL('.', import.meta.url))
const pages = join(here, '../../static')
const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; " +
  "font-src 'self' data:; media-src 'self' data:; connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

let next = 700000000000000000n
const id = () => String(next++)
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString()
const soon = (seconds) => ago(-seconds)

const STAFF = {
  counsellor: { id: '11', login: 'counsellor', name: '陈默', role: 'counsellor' },
  colleague: { id: '12', login: 'colleague', name: '刘洋', role: 'counsellor' },
  supervisor: { id: '13', login: 'supervisor', name: '周敏', role: 'supervisor' },
  curator: { id: '14', login: 'curator', name: '何青', role: 'curator' },
  administrator: { id: '15', login: 'administrator', name: '管理员', role: 'administrator' },
}
const TALK = ['look', 'claim', 'reply', 'note', 'transfer', 'hand_back', 'assess', 'close', 'alerts.read', 'acknowledge', 'decide', 'duty', 'tasks.read', 'tasks.done', 'safe_contact', 'nuisance.propose', 'rescue.open', 'rescue.tell', 'rescue.approve', 'rescue.close', 'network_address', 'shifts.read', 'templates.read', 'mark']
const MAY = {
  counsellor: TALK,
  supervisor: [...TALK, 'nuisance.confirm', 'records.read', 'shifts.manage', 'audit.read', 'templates.draft', 'templates.approve', 'staff.read', 'review', 'drift.read'],
  curator: ['templates.read', 'templates.draft', 'templates.approve', 'review'],
  administrator: ['staff.read', 'staff.manage', 'shifts.read', 'shifts.manage', 'audit.read', 'records.read', 'templates.draft', 'templates.approve', 'tasks.read', 'tasks.done', 'drift.read'],
}
const who = (one) => (one ? { id: one.id, name: one.name } : null)

const message = (from, text, seconds, more = {}) => ({
  id: id(), direction: from === 'person' ? 'in' : 'out', author: from, staff_name: from === 'staff' ? '陈默' : null, kind: 'text', text,
  at: ago(seconds), state: from === 'person' ? 'answered' : 'written', risk: from === 'person' ? 'none' : null, kinds: [], spans: [],
  explanation: '', mark: null, template: null, buttons: [], delivery: from === 'person' ? null : { state: 'delivered', error: null }, meta: null, ...more,
})
const marked = (text, word, reason) => ({ start: text.indexOf(word), end: text.indexOf(word) + word.length, reason })

function talk(fields, messages) {
  return {
    id: id(), channel: 'webchat', state: 'queued', risk: 'none', topic: 'other', category: '', person_alias: null, owner: null,
    waiting_since: ago(60), last_inbound_at: ago(60), opened_at: ago(600), episode_open: false, alert_state: null, nuisance: false,
    unread: messages.filter((m) => m.direction === 'in').length, case_number: null, transfer_offered_to_me: null, person_id: id(), messages,
    notes: [], episode: null, alert: null, case: null, safe_contact: null, rescue: [], nuisance_mark: null, earlier: [], suggestions: [],
    quota: { left: null, until: null, text: null }, transfer: null, ...fields,
  }
}

const roof = '😞我在楼顶，风很大，我不想活了'
const talks = [
  talk(
    { risk: 'critical', topic: 'safety', person_alias: '小舟', waiting_since: ago(48), last_inbound_at: ago(20), episode_open: true, alert_state: 'ringing', case_number: '20261123-0007', category: 'psychological.crisis', case: { number: '20261123-0007', state: 'new', version: 1, category: '', risk_assessed: null, result: null } },
    [
      message('person', '有人吗', 100),
      message('bot', '你好，我是倾听的自动应答，不是真人。你可以直接说发生了什么。', 99, { buttons: [{ label: '找人工', value: '/human' }] }),
      message('person', roof, 48, { risk: 'critical', kinds: ['suicide'], spans: [marked(roof, '在楼顶', '在危险的地方'), marked(roof, '不想活了', '说出不想活')], explanation: '说出不想活，并且人在危险的地方', state: 'escalated' }),
      message('bot', '我听到了，谢谢你告诉我。你现在的安全最要紧。请先离开边缘，坐到里面去。\n身边有人就叫一声；现在就可以打 110 或 120，也可以打 12356，24 小时有人接。\n已经在叫咨询员，马上有人来。', 47),
      message('person', '没有人会来的', 20, { risk: 'high', kinds: ['suicide'], spans: [], explanation: '' }),
    ],
  ),
  talk(
    { risk: 'high', topic: 'safety', channel: 'wechat', person_alias: null, waiting_since: ago(190), last_inbound_at: ago(190), episode_open: true, alert_state: 'paused', case_number: '20261123-0006', category: 'safety.home', quota: { left: 3, until: soon(47 * 3600), text: '48 小时内' } },
    [message('person', '昨晚我爸又打我了，拿皮带，我胳膊抬不起来，不敢回家', 190, { risk: 'high', kinds: ['domestic_abuse'], spans: [{ start: 2, end: 7, reason: '正在发生的家庭伤害' }], explanation: '正在发生的家庭伤害' })],
  ),
  talk({ risk: 'medium', topic: 'psychological', channel: 'sms', person_alias: '七七', waiting_since: ago(700), last_inbound_at: ago(700) }, [message('person', '他们又把我的书包扔了，我不想去学校', 700, { risk: 'medium', kinds: ['bullying'], spans: [{ start: 2, end: 8, reason: '被欺负' }], explanation: '被欺负' })]),
  talk({ risk: 'medium', topic: 'other', waiting_since: ago(320), last_inbound_at: ago(320) }, [message('person', '', 320, { kind: 'image', text: '', risk: 'medium' })]),
  talk({ risk: 'low', topic: 'legal', category: 'legal.labour.unpaid_wages', person_alias: '阿强', waiting_since: ago(1500), last_inbound_at: ago(1500) }, [message('person', '暑假打工的钱老板一直不给，想问问人工怎么办', 1500, { risk: 'low' })]),
  talk({ risk: 'none', topic: 'other', nuisance: true, waiting_since: ago(4000), last_inbound_at: ago(4000) }, [message('person', '在吗在吗在吗', 4000)]),
  talk(
    { state: 'human', risk: 'medium', topic: 'psychological', category: 'psychological.exam', owner: who(STAFF.counsellor), person_alias: '木木', waiting_since: ago(1490), last_inbound_at: ago(1490), case_number: '20261123-0003', case: { number: '20261123-0003', state: 'in_progress', version: 2, category: 'psychological.exam', risk_assessed: 'low', result: null }, notes: [{ id: id(), staff: who(STAFF.counsellor), at: ago(3000), text: '高二，住校，睡眠差两周。已约明晚再谈。' }], safe_contact: { how: '这个网页，找回码已给', when: '晚自习后 21:40 到 22:10', may_say_who: false, words: '' }, earlier: [{ conversation_id: '1', opened_at: ago(86400 * 9), channel: 'webchat', risk: 'low', category: 'psychological.exam' }, { conversation_id: '2', opened_at: ago(86400 * 40), channel: 'sms', risk: 'none', category: '' }], suggestions: [{ entry_id: 'psy.exam-sleep', title: '考试前睡不着怎么办', text: '先别逼自己马上睡着。躺下二十分钟还清醒，就起来坐一会儿，做点不费脑子的事，困了再躺。白天不补觉，晚上少看时间。连续两周睡不好，可以请校医或医院看看。', score: 0.82 }, { entry_id: 'psy.talk-parents', title: '怎么跟家长说自己撑不住了', text: '挑一个不吵架的时候，先说事实，再说你需要什么。', score: 0.61 }] },
    [
      message('person', '月考又退步了，感觉怎么努力都没用', 90000, { risk: 'low' }),
      message('staff', '听起来你已经很用力了，还是没看到结果，这很难受。这两周睡得怎么样？', 89800),
      message('person', '睡不着，白天犯困，有时候觉得自己很多余', 1500, { risk: 'medium', spans: [{ start: 11, end: 20, reason: '觉得自己多余' }], explanation: '觉得自己多余' }),
      message('staff', '“多余”这个感觉出现多久了？', 1495, { delivery: { state: 'failed', error: '45047' } }),
      message('person', '大概一个月吧', 1490),
    ],
  ),
  talk({ state: 'human', risk: 'none', owner: who(STAFF.colleague), channel: 'wechat', topic: 'legal', category: 'legal.labour', waiting_since: null, last_inbound_at: ago(260), transfer_offered_to_me: '501', transfer: { id: '501', from: who(STAFF.colleague), to: who(STAFF.counsellor), reason: '要问劳动仲裁，您更熟', offered_at: ago(30) } }, [message('person', '试用期被辞退有补偿吗', 300), message('staff', '我帮你问一下熟悉劳动法的同事。', 260, { staff_name: '刘洋' })]),
  talk({ state: 'bot', risk: 'none', waiting_since: null, topic: 'legal', last_inbound_at: ago(40) }, [message('person', '游戏充值能退吗', 42), message('bot', '未满十六周岁的人，没有家长同意的大额充值，家长可以要求退还。先保存充值记录，再联系平台客服，写明充值的人和年龄。', 41, { template: 'consumer.game-refund@3', buttons: [{ label: '有帮助', value: '/helped 1' }, { label: '没帮助', value: '/nothelped 1' }, { label: '找人工', value: '/human' }] })]),
]

const first = talks[0]
let alerts = [
  { id: '901', conversation_id: first.id, case_number: '20261123-0007', level: 'critical', state: 'ringing', rung: 0, reason: 'episode', started_at: ago(48), next_at: soon(12), acknowledged_by: null, events: [{ at: ago(48), what: 'started', rung: null, staff: null, means: null, detail: null }, { at: ago(48), what: 'rung', rung: 0, staff: who(STAFF.counsellor), means: 'screen', detail: null }, { at: ago(47), what: 'delivered', rung: 0, staff: who(STAFF.counsellor), means: 'screen', detail: null }, { at: ago(47), what: 'failed', rung: 0, staff: null, means: 'webhook:值班群', detail: 'timeout' }] },
  { id: '902', conversation_id: talks[1].id, case_number: '20261123-0006', level: 'high', state: 'paused', rung: 1, reason: 'episode', started_at: ago(190), next_at: soon(230), acknowledged_by: who(STAFF.colleague), events: [] },
]
const crisis = (c, level, kinds) => (c.episode = { id: id(), level, kinds, opened_at: ago(50), assessed_level: null, safety_sent_at: ago(47), ended_at: null })
crisis(first, 'critical', ['suicide'])
crisis(talks[1], 'high', ['domestic_abuse'])

const DESK = {
  name: '示例市 12355 青少年服务台', short_name: '倾听', logo: '', colours: { primary: '#2f6f73', text: '#1d2b2c', background: '#f7faf9' },
  numbers: { police: '110', ambulance: '120', psychological: '12356' }, hours: { days: [1, 2, 3, 4, 5, 6, 7], opens: '09:00', closes: '21:00', text: '每天 9:00—21:00' },
  categories: [
    { code: 'legal', name: '法律', children: [{ code: 'legal.labour', name: '劳动', children: [{ code: 'legal.labour.unpaid_wages', name: '拖欠工资' }, { code: 'legal.labour.dismissal', name: '辞退与离职' }] }] },
    { code: 'psychological', name: '心理', children: [{ code: 'psychological.exam', name: '学业压力' }, { code: 'psychological.crisis', name: '危机' }] },
    { code: 'safety', name: '安全', children: [{ code: 'safety.home', name: '家庭伤害' }] },
  ],
  results: [{ code: 'settled', name: '当场解决' }, { code: 'referred', name: '已转介' }, { code: 'follow_up', name: '约定回访' }],
  decisions: [{ code: 'spoken', name: '已通过其他方式联系到本人' }, { code: 'no_danger', name: '核实后没有危险' }],
  told: [{ code: 'police_110', name: '110 报警' }, { code: 'ambulance_120', name: '120 急救' }, { code: 'guardian', name: '监护人' }],
  verified_how: [{ code: 'return_code', name: '找回码' }, { code: 'in_person', name: '当面' }],
  whys: [{ code: 'alert', name: '处理警报' }],
  fallback_telephone_configured: process.env.FALLBACK === '1', demonstration: process.env.REAL !== '1',
}
const CANNED = [
  { key: 'safe-now', title: '问现在是否安全', text: '我在。你现在在哪里，身边有人吗？' },
  { key: 'listen', title: '先听', text: '谢谢你告诉我这些，听起来真的很不容易。你愿意多说一点吗？' },
  { key: 'wait', title: '请等一下', text: '我需要几分钟查一下，请不要离开，我会回来。' },
]
const TEMPLATES = [
  { key: 'safety.suicide.day', title: '安全提示：自杀（白天）', text: '我听到了，谢谢你告诉我。你现在的安全最要紧。请先到有人的地方。现在就可以打 {police} 或 {psychological}。', version: 2, state: 'approved', draft: { id: '71', text: '我听到了，谢谢你告诉我。你现在的安全最要紧。请先离开危险的地方，到有人的地方去。现在就可以打 {police} 或 {psychological}。', author: who(STAFF.colleague) }, shipped_text: '我听到了，谢谢你告诉我。你的安全最要紧。请先到有人的地方。现在就可以打 {police} 或 {psychological}。', placeholders: ['police', 'psychological'] },
  { key: 'greeting', title: '开头', text: '你好，我是{name}的自动应答，不是真人。', version: 0, state: 'shipped', draft: null, shipped_text: '你好，我是{name}的自动应答，不是真人。', placeholders: ['name'] },
]
let shifts = [
  { id: '81', staff: who(STAFF.counsellor), rung: 0, starts_at: ago(3600), ends_at: soon(4 * 3600) },
  { id: '82', staff: who(STAFF.supervisor), rung: 2, starts_at: ago(3600), ends_at: soon(8 * 3600) },
]
let tasks = [
  { id: '61', kind: 'cannot_reach', conversation_id: talks[1].id, owner: null, role: 'supervisor', level: 'high', detail: '45047', state: 'open', created_at: ago(900), due_at: soon(1200), done_at: null },
  { id: '62', kind: 'unmapped_template', conversation_id: null, owner: null, role: 'administrator', level: 'none', detail: '', state: 'open', created_at: ago(90000), due_at: ago(600), done_at: null },
]

const sample = (fields) => ({
  id: id(), state: 'open', reasons: ['risk'], risk_machine: 'low', risk_assessed: 'high', category_machine: 'psychological.exam', category_closed: null,
  created_at: ago(9000), decided_by: null, decided_at: null, reject_why: null, used_at: null, text: '', history: [],
  machine: { topic: 'psychological', risk: fields.risk_machine ?? 'low', kinds: [], category: 'psychological.exam', about: 'self' },
  labels: { topic: 'psychological', risk: 'high', kinds: ['suicide'], category: 'psychological.crisis', about: 'self' }, ...fields,
})
const SAMPLES = [
  sample({ reasons: ['missed', 'risk'], text: '我叫［姓名］，把东西都分给［班级］的人了，［姓名］老师问我怎么了我说没事', history: ['这几天都没怎么睡', '［学校］的晚自习上到十点'] }),
  sample({ reasons: ['false_alarm'], risk_machine: 'critical', risk_assessed: 'none', text: '这关我跳楼跳了三十次才过，加我QQ ［账号］一起打' }),
  sample({ reasons: ['category'], risk_machine: 'none', risk_assessed: null, category_closed: 'legal.labour.unpaid_wages', text: '寒假在［地名］端盘子，老板说押金不退，工钱也不给' }),
  sample({ state: 'accepted', decided_by: who(STAFF.curator), decided_at: ago(4000), text: '我没事，就是想把欠大家的都还清' }),
]
const WEEKS = [0, 1, 2, 3, 4, 5, 6, 7].map((back) => ({
  start: new Date(Date.UTC(2026, 10, 22 - 7 * back, 16)).toISOString(), messages: back ? 1180 + 37 * back : 96, unsure: back === 1 ? 0.094 : 0.041 + back / 1000,
  confidence: 0.93 - back / 500, episodes: 12 + back, alert_rate: 0.0102, alarms: 14, false_alarms: back === 1 ? 6 : 2, quiet: 61, missed: back === 1 ? 1 : 0, marks: back % 3,
})).reverse()

// --- sessions, sockets

let me = null
let failing = 0
const seen = new Map() // client_id -> message
const sockets = new Set()
const news = (what, conversation_id = '0', extra = null) => {
  for (const socket of sockets) socket.send(JSON.stringify({ what, conversation_id, extra }))
}
const shownMe = () => ({ ...me, must_change_password: me.login === 'new' && !me.changed, csrf_token: 'fixture', on_duty: me.on_duty ?? me.role === 'counsellor', permissions: MAY[me.role], demonstration: DESK.demonstration })

const card = (c) => {
  const { messages, notes, episode, alert, case: record, safe_contact, rescue, nuisance_mark, earlier, suggestions, quota, transfer, person_id, ...rest } = c
  const last = messages.filter((m) => m.direction === 'in').at(-1)
  const words = last ? last.text || '［图片］' : null
  const due = { critical: 120, high: 300 }[c.risk] ?? 1800
  const deadline_at = c.state === 'human' && c.waiting_since ? new Date(Date.parse(c.waiting_since) + due * 1000).toISOString() : null
  return { ...rest, deadline_at, transfer_offered_to_me: me?.id === '11' ? rest.transfer_offered_to_me : null, preview: ['queued', 'human'].includes(c.state) && words ? words.slice(0, 40) : null }
}
const whole = (c) => {
  const mine = c.owner?.id === me.id
  const open = c.state !== 'closed'
  return {
    ...card(c), ...c, preview: card(c).preview, deadline_at: card(c).deadline_at, alert: alerts.find((a) => a.conversation_id === c.id) ?? null,
    permissions: { can_claim: open && !c.owner, can_reply: mine && open, can_note: true, can_hand_back: mine && open, can_transfer: mine && open, can_assess: open, can_close: mine && open, can_rescue: ['high', 'critical'].includes(c.risk), can_approve_rescue: true, can_show_network_address: c.rescue.some((r) => r.state === 'open'), can_mark_nuisance: open && !c.nuisance_mark, can_confirm_nuisance: me.role === 'supervisor', can_ask_safe_contact: mine, can_erase: me.role === 'supervisor' },
    reassure: { can_ask_satisfaction_default: c.episode === null },
  }
}
const find = (conversation) => talks.find((c) => c.id === conversation)
const refuse = (status, error, message, more = {}) => ({ status, body: { error, message, ...more } })

async function api(method, path, query, body) {
  if (path === '/login') {
    if (body.password === 'wrong') return refuse(401, 'wrong', '登录名或密码不对。')
    me = { ...(STAFF[body.login] ?? { id: '16', login: body.login, name: body.login, role: 'counsellor' }) }
    return shownMe()
  }
  if (!me) return refuse(401, 'signed_out', '请先登录。')
  if (path === '/logout') return (me = null), {}
  if (path === '/me') return shownMe()
  if (path === '/me/password') return (me.changed = true), shownMe()
  if (path === '/me/duty') return (me.on_duty = body.on_duty), shownMe()
  if (path === '/desk') return DESK
  if (path === '/canned-replies') return CANNED
  if (path === '/colleagues') return Object.values(STAFF).slice(0, 3).map((s) => ({ ...who(s), role: s.role, on_duty: s.id !== '12', screen_open: s.id !== '12' }))
  if (path === '/entries') return [{ id: 'law.wages', title: '打工不给钱怎么办', text: '先把工时和欠的钱写下来，留好聊天和打卡记录，打 12333 投诉。', score: 0.7, sources: ['保障农民工工资支付条例'] }]
  if (path === '/alerts') return { items: alerts }
  if (path === '/erasures') return []
  if (path === '/tasks') return tasks.filter((t) => t.state === query.get('state'))
  if (path === '/templates') return TEMPLATES
  if (path === '/staff' && method === 'GET') return Object.values(STAFF).map((s) => ({ ...s, active: true, must_change_password: s.id === '14', demonstration: true, has_telephone: true, on_duty: s.id === '11', created_at: ago(86400) }))
  if (path === '/staff' || path.endsWith('/reset-password')) return { ...STAFF.counsellor, ...body, one_time_password: 'kp4d-7mwt-z3qa-h8ve' }
  if (path === '/shifts' && method === 'GET') return shifts
  if (path === '/shifts') return (shifts.push({ id: id(), staff: who(Object.values(STAFF).find((s) => s.id === body.staff_id)), ...body }), {})
  if (path === '/review') {
    const counts = { open: 0, accepted: 0, rejected: 0 }
    for (const one of SAMPLES) counts[one.state] += 1
    const rejections = [{ code: 'identifying', name: '去不掉能认出本人的内容' }, { code: 'unclear', name: '看不出谁对' }, { code: 'machine_right', name: '机器判断没有错' }, { code: 'other', name: '其他' }]
    const placeholders = ['姓名', '电话', '证件', '号码', '账号', '邮箱', '链接', '学校', '班级', '地址', '地名', '单位', '生日']
    return { items: SAMPLES.filter((one) => one.state === query.get('state')), counts, rejections, placeholders, more: false }
  }
  if (path === '/drift')
    return { weeks: WEEKS, unusual: ['上周误报明显比前几周多：请看复核样本，考虑重新训练。', '上周有机器没有看出的危险（咨询员评估为高或紧急）：请先看这些复核样本。'], model: '20261120-031500.npz', promotions: [{ at: ago(260000), by: who(STAFF.supervisor), model: '20261120-031500.npz', before: 'packaged', back: false }] }
  if (path === '/audit') return { inbound: { received: 412, answered: 301, queued: 88, escalated: 23, failed: 0, unknown: 0 }, agree: true }
  if (path === '/records') return [{ id: '1', at: ago(30), staff: who(STAFF.counsellor), action: 'look', object: 'conversation', object_id: query.get('id'), why: 'alert' }]
  if (path === '/conversations') {
    const view = query.get('view')
    const items = talks.filter((c) => (view === 'queue' ? c.state === 'queued' : view === 'mine' ? c.owner?.id === me.id || c.transfer_offered_to_me : view === 'closed' ? c.state === 'closed' : c.state !== 'closed'))
    const waiting = talks.filter((c) => c.state !== 'closed')
    return { items: items.map(card), counts: { queue: talks.filter((c) => c.state === 'queued').length, mine: talks.filter((c) => c.owner?.id === me.id && c.state === 'human').length, critical: waiting.filter((c) => c.risk === 'critical').length, high: waiting.filter((c) => c.risk === 'high').length } }
  }
  const parts = path.split('/').slice(1)
  if (parts[0] === 'alerts') {
    const alert = alerts.find((a) => a.id === parts[1])
    if (parts[2] === 'acknowledge') Object.assign(alert, { state: 'paused', acknowledged_by: who(me), next_at: soon(120) })
    else alert.state = 'ended'
    const talked = find(alert.conversation_id)
    talked.alert_state = alert.state === 'ended' ? null : alert.state
    news('alert', alert.conversation_id)
    return {}
  }
  if (parts[0] === 'review') {
    const one = SAMPLES.find((s) => s.id === parts[1])
    if (!one) return refuse(404, 'not_found', '没有这条样本。')
    const decided = { decided_by: who(me), decided_at: ago(0) }
    if (parts[2] === 'accept') Object.assign(one, decided, { state: 'accepted', text: body.text, history: body.history, labels: body })
    if (parts[2] === 'reject') Object.assign(one, decided, { state: 'rejected', reject_why: body.why })
    if (parts[2] === 'reopen') Object.assign(one, { state: 'open', decided_by: null, decided_at: null })
    return one
  }
  if (parts[0] === 'tasks') return (tasks.find((t) => t.id === parts[1]).state = 'done'), {}
  if (parts[0] === 'transfers') {
    const c = talks.find((t) => t.transfer?.id === parts[1])
    if (parts[2] === 'accept') c.owner = who(me)
    c.transfer = c.transfer_offered_to_me = null
    return {}
  }
  if (parts[0] === 'rescues') {
    const rescue = talks.flatMap((c) => c.rescue).find((r) => r.id === parts[1])
    if (parts[2] === 'told') rescue.notices.push({ told: body.told, by: who(me), at: ago(0), detail: body.detail })
    if (parts[2] === 'approve') Object.assign(rescue, { approved_by: who(me), approved_at: ago(0) })
    if (parts[2] === 'not-awaited') rescue.not_awaited_reason = body.reason
    if (parts[2] === 'close') Object.assign(rescue, { state: 'closed', result: body.result, closed_at: ago(0) })
    return rescue
  }
  const c = parts[0] === 'conversations' ? find(parts[1]) : null
  if (!c) return refuse(404, 'not_found', '没有找到。')
  const human = () => {
    c.waiting_since = null
    for (const alert of alerts) if (alert.conversation_id === c.id) alert.state = 'ended'
    c.alert_state = null
  }
  switch (parts[2]) {
    case undefined:
      if (c.state === 'bot' && !query.get('why')) return refuse(400, 'why', '这不是您正在处理的会话，请说明查看原因。', { whys: { supervision: '督导', handover: '交接班', complaint: '投诉或查询' } })
      return whole(c)
    case 'messages':
      if (parts[4] === 'mark') {
        c.messages.find((m) => m.id === parts[3]).mark = body.what === 'none' ? null : body.what
        return {}
      }
      return { items: query.get('before') ? [] : c.messages }
    case 'claim':
      if (c.owner) return refuse(409, 'taken', `这个会话已由${c.owner.name}接手。`, { owner: c.owner })
      Object.assign(c, { owner: who(me), state: 'human' })
      news('conversation', c.id)
      return whole(c)
    case 'reply': {
      if (!seen.has(body.client_id)) {
        const sent = message('staff', body.text, 0, { staff_name: me.name, delivery: { state: 'sent', error: null } })
        seen.set(body.client_id, sent)
        c.messages.push(sent)
        if (c.quota.left) c.quota.left -= 1
        human()
        setTimeout(() => ((sent.delivery = { state: 'delivered', error: null }), news('delivery', c.id)), 1500)
        news('message', c.id)
        news('alert', c.id)
      }
      return seen.get(body.client_id)
    }
    case 'notes': {
      const note = { id: id(), staff: who(me), at: ago(0), text: body.text }
      c.notes.push(note)
      return note
    }
    case 'risk':
      c.risk = body.level
      c.case = { ...(c.case ?? { number: '20261123-0009', state: 'in_progress', version: 1, category: '', result: null }), risk_assessed: body.level }
      return {}
    case 'close':
      if (c.case && body.version !== c.case.version) return refuse(409, 'version', '工单刚被别人改过。', { current: c.case, version: c.case.version })
      c.state = 'closed'
      news('conversation', c.id)
      return {}
    case 'hand-back':
      Object.assign(c, { state: 'queued', owner: null, waiting_since: ago(5) })
      return {}
    case 'transfer':
      c.transfer = { id: id(), from: who(me), to: who(Object.values(STAFF).find((s) => s.id === body.to)), reason: body.reason, offered_at: ago(0) }
      return {}
    case 'rescues':
      c.rescue.push({ id: id(), state: 'open', opened_by: who(me), opened_at: ago(0), ...body, approved_by: null, approved_at: null, not_awaited_reason: null, notices: [], result: null, closed_at: null })
      return c.rescue.at(-1)
    case 'safe-contact':
      c.safe_contact = body
      return {}
    case 'network-address':
      return { address: '203.0.113.7' }
    case 'nuisance':
      c.nuisance_mark = { id: id(), reason: body.reason, proposed_by: who(me), proposed_at: ago(0), confirmed_by: null, until: null }
      return {}
    default:
      return {}
  }
}

function dev(path, query) {
  if (path === '/dev/drop') for (const socket of sockets) socket.terminate()
  if (path === '/dev/fail') failing = Number(query.get('n') ?? 1)
  if (path === '/dev/out') me = null
  if (path === '/dev/message') {
    const c = find(query.get('id') ?? first.id)
    c.messages.push(message('person', query.get('text') ?? '你还在吗', 0))
    c.waiting_since ??= ago(0)
    news('message', c.id)
  }
  if (path === '/dev/alert') {
    const c = talks[2]
    Object.assign(c, { risk: 'critical', alert_state: 'ringing', episode_open: true, case_number: '20261123-0011' })
    alerts.push({ id: id(), conversation_id: c.id, case_number: c.case_number, level: 'critical', state: 'ringing', rung: 0, reason: 'episode', started_at: ago(0), next_at: soon(60), acknowledged_by: null, events: [] })
    news('alert', c.id)
  }
  return {}
}

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://fixture')
  response.setHeader('Content-Security-Policy', CSP)
  let raw = ''
  for await (const chunk of request) raw += chunk
  if (url.pathname.startsWith('/api/') || url.pathname.startsWith('/dev/')) {
    if (failing > 0 && url.pathname.startsWith('/api/')) {
      failing -= 1
      request.socket.destroy()
      return
    }
    const said = url.pathname.startsWith('/dev/') ? dev(url.pathname, url.searchParams) : await api(request.method, url.pathname.slice(4), url.searchParams, raw ? JSON.parse(raw) : {})
    const refused = said?.body !== undefined && said?.status !== undefined
    response.writeHead(refused ? said.status : 200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify(refused ? said.body : said))
    return
  }
  const wanted = url.pathname === '/desk/' ? '/console/index.html' : url.pathname.replace(/^\/desk\//, '/console/').replace(/^\/static\/docs\//, '/docs/')
  try {
    const file = await readFile(join(pages, normalize(wanted)))
    response.writeHead(200, { 'Content-Type': TYPES[extname(wanted)] ?? 'application/octet-stream' })
    response.end(file)
  } catch {
    response.writeHead(404).end()
  }
})
const live = new WebSocketServer({ noServer: true })
server.on('upgrade', (request, socket, head) =>
  live.handleUpgrade(request, socket, head, (open) => {
    if (!me) return open.close(4401)
    sockets.add(open)
    open.on('close', () => sockets.delete(open))
  }),
)
server.listen(Number(process.env.PORT ?? 8090), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/desk/`))
