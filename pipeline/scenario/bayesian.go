package scenario

import (
	"cs/pipeline/bucket"
	"cs/pipeline/expr"
)

// hypothesis is that a bucket is evil. Each event starts from the prior, and
// each symptom that is there or missing moves it, by Bayes' rule. The
// arithmetic is upstream's: float32, one symptom after the other.
type hypothesis struct {
	prior, threshold float32
	symptoms         []symptom
}

type symptom struct {
	there            *expr.Program
	ifEvil, ifBenign float32 // how likely it is there
	lasts            uint16  // guillotine: bit of bucket.Overflow.Fired; 0: it is looked for each time
}

// hypothesis compiles the bayesian keys. As upstream has it, other types of
// buckets may have them, too.
func (c *Compiler) hypothesis(doc *document) (*hypothesis, error) {
	at := doc.Name.Place
	bayesian := doc.Type.Value == "bayesian"
	if !bayesian && doc.Threshold == 0 {
		return nil, nil
	}
	h := &hypothesis{prior: float32(doc.Prior), threshold: float32(doc.Threshold)}
	switch {
	case !(h.prior > 0 && h.prior <= 1):
		return nil, at.Errorf("bayesian_prior is above 0 and at most 1, this is %g", doc.Prior)
	case !(h.threshold > 0 && h.threshold <= 1):
		return nil, at.Errorf("bayesian_threshold is above 0 and at most 1, this is %g", doc.Threshold)
	case len(doc.Conditions) == 0:
		return nil, at.Errorf("a bayesian scenario needs bayesian_conditions")
	}
	lasting := 0
	for i := range doc.Conditions {
		d := &doc.Conditions[i]
		if d.Condition.Value == "" {
			return nil, at.Errorf("entry %d of bayesian_conditions has no condition", i+1)
		}
		s := symptom{ifEvil: float32(d.Evil), ifBenign: float32(d.Benign)}
		var err error
		if s.there, err = truth(c.condition, d.Condition); err != nil {
			return nil, err
		}
		if d.Guillotine {
			if lasting == bucket.MaxFired {
				return nil, d.Condition.Place.Errorf("more than %d conditions have a guillotine", bucket.MaxFired)
			}
			s.lasts = 1 << lasting
			lasting++
		}
		h.symptoms = append(h.symptoms, s)
	}
	return h, nil
}

// likely tells whether the bucket in r.overflow, which r.condition shows, is
// more likely evil than the threshold.
func (r *Runner) likely(sc *Scenario, p *bucket.Pour) bool {
	h := sc.hypothesis
	prob, fired := h.prior, uint16(0)
	for i := range h.symptoms {
		s := &h.symptoms[i]
		there := r.overflow.Fired&s.lasts != 0
		if !there {
			var err error
			if there, err = s.there.Bool(&r.condition); err != nil {
				r.failed(sc, err)
				continue // it tells nothing
			}
			if there {
				fired |= s.lasts
			}
		}
		if there {
			prob = bayes(prob, s.ifEvil, s.ifBenign)
		} else {
			prob = bayes(prob, 1-s.ifEvil, 1-s.ifBenign)
		}
	}
	if fired != 0 {
		r.set.table.Remember(p, &r.overflow, fired)
	}
	return prob > h.threshold
}

// bayes is the posterior probability. The conversions keep compilers from
// fusing operations, which would round differently from machine to machine.
func bayes(prior, ifEvil, ifBenign float32) float32 {
	evil := float32(ifEvil * prior)
	return evil / float32(evil+float32(ifBenign*float32(1-prior)))
}
