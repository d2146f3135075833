/** The editing desk's own words for what its API names by code. */
import type { Audience, Difference, EntryState, Outcome, RevisionState, Step, ToCheck } from '../api/knowledge'

export const STATE_NAMES: Record<EntryState, string> = {
  shipped: '随程序提供',
  draft: '草稿',
  submitted: '待批准',
  approved: '已批准，待发布',
  published: '已发布',
  retired: '已停用',
}

export const REVISION_NAMES: Record<RevisionState, string> = {
  draft: '草稿',
  submitted: '待批准',
  approved: '已批准，待发布',
  published: '已发布',
  replaced: '已被替换',
  discarded: '已放弃',
}

export const AUDIENCE_NAMES: Record<Audience, string> = {
  pupil: '学生',
  worker: '工作的人',
  parent: '家长',
  teacher: '老师',
  anyone: '所有人',
}

export const TO_CHECK_NAMES: Record<ToCheck, string> = { law_changed: '依据有新版本', review_due: '过了复核日期' }

/** In the order of the form. */
export const FIELD_NAMES: Record<string, string> = {
  title: '标题',
  asks: '问法',
  short: '短回答',
  long: '长回答',
  category: '案由',
  audience: '对象',
  region: '地区',
  sources: '来源',
  checked_on: '核对日期',
  review_by: '复核日期',
  brings_human: '带人工',
  id: '编号',
}

export const CHANNEL_NAMES = { web: '网页', wechat: '微信', sms: '短信' } as const

export const VERDICT_NAMES: Record<Difference['verdict'], string> = {
  better: '变好',
  worse: '变差',
  other: '变了',
  text: '只是文字变了',
}

export const OUTCOME_NAMES: Record<Outcome, string> = { answer: '直接回答', choose: '给出几个让人选', nothing: '不回答，转人工' }

export const DONE: Record<Step, string> = {
  draft: '草稿已保存',
  submit: '已提交，等另一人批准',
  approve: '已批准，可以发布',
  send_back: '已退回修改',
  publish: '已发布，几秒内对所有人生效',
  schedule: '日期已改',
  retire: '已停用，几秒内不再回答',
  roll_back: '已恢复',
  discard: '正在写的修订已放弃',
  checked: '已记下：核对过',
}
