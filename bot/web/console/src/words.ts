/** The desk's own words for what the API names by code. An unknown code is shown as it is, never hidden. */
import type { Risk, Role, State } from './api/types'

const look = (table: Record<string, string>) => (code: string | null | undefined) =>
  code ? (table[code] ?? code) : ''

export const RISK_NAMES: Record<Risk, string> = { none: '无', low: '低', medium: '中', high: '高', critical: '紧急' }

export const channelName = look({ webchat: '网页', wechat: '微信', sms: '短信', phone: '电话' })

export const STATE_NAMES: Record<State, string> = {
  bot: '自动应答',
  queued: '待接',
  human: '人工',
  closed: '已结束',
}

export const ROLE_NAMES: Record<Role, string> = {
  counsellor: '咨询员',
  supervisor: '督导',
  curator: '知识编辑',
  administrator: '管理员',
}

export const kindName = look({
  suicide: '自杀',
  self_harm: '自伤',
  domestic_abuse: '家庭伤害',
  sexual_abuse: '性侵害',
  bullying: '欺凌',
  violence: '暴力',
  fraud: '诈骗',
  trafficking: '拐卖',
  drugs: '毒品',
  runaway: '离家出走',
  emergency: '紧急情况',
})

export const KINDS = ['suicide', 'self_harm', 'domestic_abuse', 'sexual_abuse', 'bullying', 'violence', 'fraud', 'trafficking', 'drugs', 'runaway', 'emergency']

export const aboutName = look({ self: '本人', other: '别人', unknown: '没有说' })

export const markName = look({ missed: '漏报', false_alarm: '误报' })

export const reasonName = look({
  missed: '咨询员标记漏报',
  false_alarm: '咨询员标记误报',
  risk: '评估的风险不同',
  category: '结案的案由不同',
})

export const topicName = look({ legal: '法律', psychological: '心理', safety: '安全', other: '其他' })

export const RUNG_NAMES = ['值班咨询员', '备班咨询员', '督导', '兜底电话']

export const alertReason = look({
  episode: '危机事件',
  unread: '有消息无人查看',
  owner_gone: '接待人离线',
  handed_back: '会话被交回',
  risen: '人工会话中风险升高',
  cannot_reach: '消息没有送到本人',
  understanding_down: '自动识别停了',
  silence: '超过时限没有人工回复',
})

export const alertEventName = look({
  started: '开始',
  raised: '风险升高，再次响铃',
  rung: '呼叫',
  skipped: '跳过（无人可呼）',
  fallback_missing: '没有设置兜底电话',
  delivered: '已送到',
  failed: '没有送到',
  acknowledged: '已知悉',
  resumed: '恢复响铃',
  ended: '结束',
})

export const alertDetail = look({
  episode: '',
  unread: '',
  unreachable: '值班的人都没开工作台',
  nobody: '没有排人',
  human_reply: '人工已回复',
  decision: '已记录决定',
  closed: '会话已结束',
  assessed: '已评估',
  timeout: '超时',
})

export function meansName(means: string | null | undefined): string {
  if (!means) return ''
  if (means === 'screen') return '工作台'
  if (means === 'telephone') return '电话'
  if (means.startsWith('webhook:')) return `群机器人 ${means.slice(8)}`
  return means
}

export const deliveryName = look({
  pending: '等待发送',
  attempting: '发送中',
  sent: '已发出',
  delivered: '已送达',
  failed: '没有送到',
  unknown: '是否送到不明',
})

/** Web chat has no push: what is pending there waits until the person's page is open. */
export function deliveryState(channel: string, state: string): string {
  return channel === 'webchat' && state === 'pending' ? '等对方页面接收' : deliveryName(state)
}

export const deliveryError = look({
  '45015': '微信 48 小时窗口已关闭，对方再来消息才能发',
  '45047': '微信客服消息额度已用完，对方再来消息才能发',
  window_closed: '发送窗口已关闭，对方再来消息才能发',
  quota_spent: '发送额度已用完，对方再来消息才能发',
  opted_out: '对方已退订主动短信',
  unmapped_template: '短信服务商没有对应模板',
  number_dead: '号码不可用',
  not_fetched: '对方还没有收到（网页没有开着，或公众号不能主动发）；请设法联系，对方再来时会送出',
  no_account: '这个渠道账号已从设置里去掉，没有送出，请换别的办法联系',
  timeout: '超时',
})

export const toldName = look({
  police_110: '公安 110',
  ambulance_120: '急救 120',
  fire_119: '消防 119',
  guardian: '监护人',
  school: '学校',
  other: '其他',
})

export const taskName = look({
  cannot_reach: '联系不上来访者',
  unknown_delivery: '消息是否送达不明',
  unmapped_template: '短信模板未登记',
  clock_warning: '时钟可能不准',
  erasure: '删除请求待审批',
  nuisance_review: '骚扰标记待确认',
  ask_safe_contact: '询问安全联系方式',
  sweep: '补救未处理的消息',
})

export const messageKind = look({
  voice: '语音',
  image: '图片',
  location: '位置',
  link: '链接',
  event: '事件',
  form: '表单',
})

export const recordWhy = look({
  review: '复核样本',
  missed: '漏报',
  false_alarm: '误报',
  none: '取消',
  identifying: '去不掉能认出本人的内容',
  unclear: '看不出谁对',
  machine_right: '机器判断没有错',
  other: '其他',
})

export const recordAction = look({
  look: '查看',
  claim: '接待',
  reply: '回复',
  note: '备注',
  transfer: '转给同事',
  'transfer.offer': '转给同事',
  'transfer.accept': '接受转来',
  'transfer.decline': '谢绝转来',
  hand_back: '交回队列',
  close: '结束会话',
  assess: '评估风险',
  acknowledge: '知悉警报',
  decide: '决定警报',
  'rescue.open': '启动紧急救援',
  'rescue.told': '告知',
  'rescue.approve': '同意救援',
  'network_address.show': '查看网络地址',
  'template.draft': '起草模板',
  'template.approve': '核准模板',
  'template.discard': '作废草稿',
  'entry.draft': '写条目草稿',
  'entry.submit': '提交条目',
  'entry.send_back': '退回条目',
  'entry.approve': '批准条目',
  'entry.publish': '发布条目',
  'entry.reschedule': '改条目日期',
  'entry.retire': '停用条目',
  'entry.roll_back': '恢复条目旧版',
  'entry.discard': '放弃条目修订',
  'entry.comment': '批注条目',
  'entry.to_check': '标为待核对',
  'entry.checked': '核对条目',
  'entry.question.save': '保存问题',
  'entry.question.remove': '删除保存的问题',
  'alert.decide': '决定警报',
  'rescue.close': '结束救援',
  'rescue.not_awaited': '说明不等第二人',
  'nuisance.propose': '提出骚扰标记',
  'nuisance.confirm': '确认骚扰标记',
  'nuisance.end': '结束骚扰标记',
  'erasure.request': '登记删除请求',
  'erasure.approve': '批准删除',
  'erasure.refuse': '不批准删除',
  'erasure.done': '删除完成',
  'legal_hold.set': '依法保留',
  'legal_hold.end': '解除依法保留',
  'desk.move': '服务台代码变更',
  'duty.start': '开始值班',
  'duty.end': '结束值班',
  'shift.add': '排班',
  'shift.remove': '取消排班',
  'staff.add': '添加人员',
  'staff.reset_password': '重置密码',
  'staff.telephone': '修改电话',
  'password.change': '修改密码',
  'task.done': '完成任务',
  safe_contact: '记录安全联系方式',
  'review.mark': '标记漏报或误报',
  'review.accept': '采用复核样本',
  'review.reject': '不采用复核样本',
  'review.reopen': '撤回复核决定',
  'review.train': '用于训练模型',
  'unanswered.take': '未答问题收进条目',
  'unanswered.dismiss': '未答问题不需要条目',
  'unanswered.reopen': '未答问题放回',
  'law.import': '导入法律',
  'law.remove': '拿掉法律的一个版本',
  'model.promote': '启用模型',
  'model.back': '退回模型',
})
